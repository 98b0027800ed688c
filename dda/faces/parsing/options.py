"""Options of the face parsers."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dda.files import digest_file
from dda.options import FILE, Choice, one_of, option

if TYPE_CHECKING:  # torch takes seconds to import
    import torch

    from dda.faces.parsing.farl import FaRLParser
    from dda.faces.parsing.mesh import MeshParser
    from dda.faces.parsing.parser import FaceParser


def fingerprint_file(path: str) -> str:
    """Return the digest of a file's content."""
    return digest_file(Path(path))


@dataclass(kw_only=True)
class ParserOptions(Choice, ABC):
    """A face parser: it finds faces, and draws the masks of eyes, lips, skin and brows."""

    name: str = option("The parser.")

    @abstractmethod
    def open(self, device: "torch.device") -> "FaceParser[Any]":
        """Load the parser, ready to use; ``device`` is where its networks run, if it has any.

        Raises:
            OptionError: the parser's packages or weights are missing or do not fit.
        """


@dataclass(kw_only=True)
class MeshOptions(ParserOptions):
    """MediaPipe face mesh; its models come with the package."""

    name: str = option("The parser.", "mesh", limit=one_of("mesh"))

    def open(self, device: "torch.device") -> "MeshParser":
        """As :meth:`ParserOptions.open`."""
        from dda.faces.parsing.mesh import MeshParser

        return MeshParser()


@dataclass(kw_only=True)
class FaRLOptions(ParserOptions):
    """FaRL face parsing with RetinaFace detection, through facer: the paper's parser."""

    name: str = option("The parser.", "farl", limit=one_of("farl"))
    labels: str = option("Label set it was trained on: lapa | celebm.", "lapa", limit=one_of("lapa", "celebm"))
    weights: str | None = option(
        "TorchScript file of the parser; null: downloaded at first use.",
        None,
        limit=FILE,
        is_path=True,
        fingerprint=fingerprint_file,
    )
    detector_weights: str | None = option(
        "RetinaFace mobilenet state file (.pth); null: downloaded at first use.",
        None,
        limit=FILE,
        is_path=True,
        fingerprint=fingerprint_file,
    )

    def open(self, device: "torch.device") -> "FaRLParser":
        """As :meth:`ParserOptions.open`."""
        from dda.faces.parsing.farl import FaRLParser  # facer takes seconds to import, and needs libGL

        return FaRLParser(self.labels, self.weights, self.detector_weights, device)
