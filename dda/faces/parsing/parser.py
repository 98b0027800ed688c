"""Face parsers: from a picture to its faces, and from an aligned face to its region masks."""

import hashlib
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import torch

from dda.errors import UserError
from dda.faces.face import Face
from dda.faces.face_mesh import FaceDetector, MeshFace
from dda.faces.parsing.mesh_masks import mesh_regions
from dda.faces.region_masks import RegionMasks

F = TypeVar("F", bound=Face)

NO_MEMORY = "the device had no memory left for the parser"
"""Why a picture was not parsed, where that raised torch.OutOfMemoryError."""


class ParserConfig(Protocol):
    """The `parser` group of the configuration."""

    name: str
    labels: str | None
    weights: str | None
    detector_weights: str | None


class FaceParser(Protocol[F]):
    """Finds faces and parses them; one object may be used by several threads at once."""

    def detect(self, image: np.ndarray) -> list[F]:
        """Faces of a picture (uint8 HWC RGB, any size), largest first; an empty list when there is none."""

    def regions(self, source: np.ndarray, face: F) -> RegionMasks[F]:
        """Region masks of ``face`` in its aligned picture ``source`` (uint8 (512, 512, 3) RGB).

        The face is one that this parser found, in pixels of ``source``.
        """


class MeshParser:
    """MediaPipe's face mesh, whose models come with the package, and masks drawn from it."""

    def __init__(self) -> None:
        self._detector = FaceDetector()

    def detect(self, image: np.ndarray) -> list[MeshFace]:
        """As :meth:`FaceParser.detect`."""
        return self._detector(image)

    def regions(self, source: np.ndarray, face: MeshFace) -> RegionMasks[MeshFace]:
        """As :meth:`FaceParser.regions`."""
        return mesh_regions(source, face)


def parser_settings(cfg: ParserConfig) -> dict[str, str | None]:
    """What of ``cfg.parser`` decides the masks: weight files by what is in them, None for those of the authors."""
    return {
        "name": cfg.name,
        "labels": cfg.labels,
        "weights": cfg.weights and _digest(cfg.weights),
        "detector_weights": cfg.detector_weights and _digest(cfg.detector_weights),
    }


def _digest(file: str) -> str:
    with Path(file).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def open_parser(cfg: ParserConfig, device: torch.device) -> FaceParser:
    """The parser that ``parser.name`` asks for, ready to use; ``device`` is where its networks run, if it has any.

    Raises:
        UserError: the parser's packages or weights are missing or do not fit.
    """
    if cfg.name == "mesh":
        return MeshParser()
    if cfg.labels is None:
        raise UserError("parser.labels: must be given for parser=farl: lapa or celebm")
    from dda.faces.parsing.farl import FaRLParser  # facer takes seconds to import, and needs libGL

    return FaRLParser(cfg.labels, cfg.weights, cfg.detector_weights, device)
