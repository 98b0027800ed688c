"""Identity: whether source and target show one person to a face recognizer."""

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
"""Side of the aligned faces that dlib's network takes."""


class Identity:
    """Cosine of the face embeddings (dlib's ResNet, 128 numbers) of source and target.

    Shape (N,), range [-1, 1], higher is better. NaN where no face was found. The package `face_recognition_models` has
    the weights (22 MB, public domain) and dlib's five landmarks.

    Raises:
        MissingWeights: dlib or the package of its weights is not installed.

    Example:
        >>> Identity.columns[0].name, Identity.columns[0].better
        ('identity', 'higher')
        >>> Identity()(batch.without_makeup())  # doctest: +SKIP
        {'identity': tensor([1.])}
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
        # The package is not imported, as it needs pkg_resources, which setuptools no longer has.
        package = importlib.util.find_spec("face_recognition_models")
        if package is None or importlib.util.find_spec("dlib") is None:
            raise MissingWeights("dlib and its weights are not installed: pip install -e '.[identity]'")
        import dlib

        models = Path(next(iter(package.submodule_search_locations or []))) / "models"
        self.landmarks = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
        self.network = dlib.face_recognition_model_v1(str(models / "dlib_face_recognition_resnet_model_v1.dat"))
        # Cached, because a source returns in the identity baseline and in other styles.
        self._embed = lru_cache(maxsize=64)(self._embed_chip)

    def __call__(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        """Return the cosine of each pair (N,)."""
        cosine = batch.source.new_full((len(batch.source),), math.nan)
        for row in batch.has_face.nonzero().flatten().tolist():
            chips = self._crop_faces(batch.source[row], batch.target[row], batch.oval[row, 0])
            source, target = (self._embed(chip.tobytes()) for chip in chips)
            cosine[row] = float(source @ target)
        return {"identity": cosine}

    def _embed_chip(self, chip: bytes) -> np.ndarray:
        """Return the embedding (128,) of an aligned face, of length 1."""
        face = np.frombuffer(chip, np.uint8).reshape(CHIP_SIZE_PX, CHIP_SIZE_PX, 3)
        embedding = np.array(self.network.compute_face_descriptor(face), np.float32)
        return embedding / np.linalg.norm(embedding)

    def _crop_faces(self, source: torch.Tensor, target: torch.Tensor, oval: torch.Tensor) -> list[Any]:
        """Return both faces upright, uint8 (`CHIP_SIZE_PX`, `CHIP_SIZE_PX`, 3), by the source's landmarks.

        The target's own landmarks may lie a pixel off because of the makeup, which would count as another face.
        """
        import dlib

        inside = (oval > 0.5).nonzero()
        (_, left), (bottom, right) = inside.amin(0).tolist(), inside.amax(0).tolist()
        top = bottom - (right - left)  # dlib's landmarks were trained on square boxes without the forehead
        image = to_uint8(source)
        landmarks = self.landmarks(image, dlib.rectangle(left, top, right, bottom))
        return [dlib.get_face_chip(picture, landmarks, size=CHIP_SIZE_PX) for picture in (image, to_uint8(target))]
