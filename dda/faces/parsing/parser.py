"""Face parsers: from a picture to its faces, and from an aligned face to its region masks."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np

from dda.faces.face import Face
from dda.faces.region_masks import RegionMasks
from dda.options import Choice, option

if TYPE_CHECKING:  # torch takes seconds to import
    import torch

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


@dataclass(kw_only=True)
class ParserOptions(Choice, ABC):
    """A face parser."""

    name: str = option("The parser.")

    @abstractmethod
    def open(self, device: "torch.device") -> FaceParser[Any]:
        """Load the parser, ready to use; ``device`` is where its networks run, if it has any.

        Raises:
            OptionError: the parser's packages or weights are missing or do not fit.
        """
