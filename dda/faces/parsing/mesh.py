"""The mesh parser: MediaPipe's face mesh, and region masks drawn from it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dda.faces.face_mesh import FaceDetector, MeshFace
from dda.faces.parsing.mesh_masks import mesh_regions
from dda.faces.parsing.parser import ParserOptions
from dda.faces.region_masks import RegionMasks
from dda.options import one_of, option

if TYPE_CHECKING:  # torch takes seconds to import
    import torch


class MeshParser:
    """MediaPipe's face mesh, whose models come with the package, and masks drawn from it.

    A :class:`dda.faces.parsing.parser.FaceParser`.
    """

    def __init__(self) -> None:
        self._detector = FaceDetector()

    def detect(self, image: np.ndarray) -> list[MeshFace]:
        """As :meth:`FaceParser.detect`."""
        return self._detector(image)

    def regions(self, source: np.ndarray, face: MeshFace) -> RegionMasks[MeshFace]:
        """As :meth:`FaceParser.regions`."""
        return mesh_regions(source, face)


@dataclass(kw_only=True)
class MeshOptions(ParserOptions):
    """MediaPipe face mesh; its models come with the package."""

    name: str = option("The parser.", "mesh", limit=one_of("mesh"))

    def open(self, device: "torch.device") -> MeshParser:
        """As :meth:`ParserOptions.open`."""
        return MeshParser()
