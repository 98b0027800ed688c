"""Region masks of an aligned face: where makeup may go, and how much of it."""

from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from dda.faces.face import Face
from dda.regions import REGIONS

F = TypeVar("F", bound=Face)


@dataclass
class RegionMasks(Generic[F]):
    """Soft masks of the regions of one face in an aligned picture.

    Attributes:
        masks: (4, H, W) float32 in [0, 1], in the order of :data:`dda.regions.REGIONS`; they sum to at most 1.
        oval: (H, W) float32 in [0, 1], the inside of the face's outline, covered parts included.
        face: the face, in pixels of the picture.
    """

    masks: np.ndarray
    oval: np.ndarray
    face: F

    def __getitem__(self, region: str) -> np.ndarray:
        """Return the mask (H, W) of one region."""
        return self.masks[REGIONS.index(region)]

    @property
    def total_mask(self) -> np.ndarray:
        """Sum M of the masks, (H, W) in [0, 1]: where it is 0, a target's bytes equal its source's."""
        return self.masks.sum(0)

    @property
    def visible_share(self) -> float:
        """Share of the face oval that the masks cover, in [0, 1]; the rest is hidden."""
        return float(np.minimum(self.total_mask, self.oval).sum() / max(self.oval.sum(), 1.0))
