"""The mesh parser: MediaPipe's face mesh, and region masks drawn from it."""

import numpy as np

from dda.faces.face_mesh import FaceDetector, MeshFace
from dda.faces.parsing.mesh_masks import draw_region_masks
from dda.faces.region_masks import RegionMasks


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
        return draw_region_masks(source, face)
