"""Identity: whether a face recognizer still takes target and source for one person."""

import importlib.util
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dda.images import to_uint8
from dda.metrics.metric import Column, MissingWeights, PairBatch

CHIP_SIZE_PX = 150
"""Side in pixels of the faces that dlib's network takes."""


class Identity:
    """Cosine of dlib's 128 face features of source and target.

    The weights (22 MB, public domain) and dlib's five landmarks come with the package `face_recognition_models`.

    Raises:
        MissingWeights: dlib or the package of its weights is not installed.
    """

    columns = (
        Column(
            name="identity",
            unit="",
            low=-1,
            high=1,
            better="higher",
            about="Cosine of the face features of source and target: makeup moves it little (0.97 or more), another "
            "person much (0.93 or less); it tells a swapped face, not a damaged one.",
            weights="dlib_face_recognition_resnet_model_v1 (face_recognition_models 0.3.0)",
        ),
    )

    def __init__(self) -> None:
        # Its own module imports pkg_resources, which setuptools dropped: only its folder is needed.
        found = importlib.util.find_spec("face_recognition_models")
        if found is None or importlib.util.find_spec("dlib") is None:
            raise MissingWeights("dlib and its weights are not installed: pip install -e '.[identity]'")
        import dlib

        models = Path(next(iter(found.submodule_search_locations or []))) / "models"
        self.landmarks = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
        self.network = dlib.face_recognition_model_v1(str(models / "dlib_face_recognition_resnet_model_v1.dat"))
        # A source comes again: as its own target, in the identity baseline, and with other styles.
        self._features = lru_cache(maxsize=64)(self._embed_face)

    def __call__(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        """Return the cosine (N,) in [-1, 1]; NaN where there is no face."""
        cosine = batch.source.new_full((len(batch.source),), math.nan)
        for row in batch.has_face.nonzero().flatten().tolist():
            chips = self._align_faces(batch.source[row], batch.target[row], batch.oval[row, 0])
            source, target = (self._features(chip.tobytes()) for chip in chips)
            cosine[row] = float(source @ target)
        return {"identity": cosine}

    def _embed_face(self, chip: bytes) -> np.ndarray:
        """Return the features (128,) of a face, of length 1."""
        face = np.frombuffer(chip, np.uint8).reshape(CHIP_SIZE_PX, CHIP_SIZE_PX, 3)
        features = np.array(self.network.compute_face_descriptor(face), np.float32)
        return features / np.linalg.norm(features)

    def _align_faces(self, source: torch.Tensor, target: torch.Tensor, oval: torch.Tensor) -> list[Any]:
        """Return both faces upright, uint8 (`CHIP_SIZE_PX`, `CHIP_SIZE_PX`, 3), by the source's eyes and nose.

        A pair's features lie in the same places, and landmarks that makeup shifts by a pixel would pass for a change
        of the face.
        """
        import dlib

        inside = (oval > 0.5).nonzero()
        (_, left), (bottom, right) = inside.amin(0).tolist(), inside.amax(0).tolist()
        top = bottom - (right - left)  # the box dlib's landmarks are trained on: square, without the forehead
        image = to_uint8(source)
        landmarks = self.landmarks(image, dlib.rectangle(left, top, right, bottom))
        return [dlib.get_face_chip(picture, landmarks, size=CHIP_SIZE_PX) for picture in (image, to_uint8(target))]
