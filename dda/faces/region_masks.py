"""Soft, disjoint region masks of an aligned face: where makeup may go, and how much of it."""

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from dda.faces.face import Face
from dda.regions import REGIONS

F = TypeVar("F", bound=Face)


@dataclass
class RegionMasks(Generic[F]):
    """Where makeup may go on one face of an aligned picture.

    Attributes:
        masks: (4, H, W) float32 in [0, 1], in the order of :data:`dda.regions.REGIONS`.
        oval: (H, W) float32 in [0, 1], the inside of the face's outline, whatever may cover it.
        face: the face, in pixels of the picture.
    """

    masks: np.ndarray
    oval: np.ndarray
    face: F

    def __getitem__(self, region: str) -> np.ndarray:
        """The mask (H, W) of one region."""
        return self.masks[REGIONS.index(region)]

    @property
    def visible(self) -> float:
        """Share of the face oval that lies under some mask."""
        return float(np.minimum(self.total, self.oval).sum() / max(self.oval.sum(), 1.0))

    @property
    def total(self) -> np.ndarray:
        """M, the sum of the masks (H, W): outside of it a target's bytes are its source's."""
        return self.masks.sum(0)
