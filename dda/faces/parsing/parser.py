"""Face parsers: from a picture to its faces, and from an aligned face to its region masks."""

from typing import Protocol, TypeVar

import numpy as np

from dda.faces.face import Face
from dda.faces.region_masks import RegionMasks

F = TypeVar("F", bound=Face)

NO_MEMORY = "the device had no memory left for the parser"
"""Why a picture was not parsed, where the parser raised torch.OutOfMemoryError."""


class FaceParser(Protocol[F]):
    """Finds faces and parses them; one object may be used by several threads at once."""

    def detect(self, image: np.ndarray) -> list[F]:
        """Return the faces of a picture (uint8 HWC RGB, any size), largest first; an empty list when there is none."""

    def regions(self, source: np.ndarray, face: F) -> RegionMasks[F]:
        """Return the region masks of ``face`` in its aligned picture ``source`` (uint8 (512, 512, 3) RGB).

        The face is one that this parser found, in pixels of ``source``.
        """
