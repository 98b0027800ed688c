"""Options of the FaRL parser."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dda.faces.parsing.parser import ParserOptions
from dda.files import digest_file
from dda.options import FILE, one_of, option

if TYPE_CHECKING:  # torch takes seconds to import
    import torch

    from dda.faces.parsing.farl import FaRLParser


def fingerprint_file(path: str) -> str:
    """Return the digest of a file's content."""
    return digest_file(Path(path))


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
        from dda.faces.parsing.farl import FaRLParser  # imports torch; facer takes seconds, and needs libGL

        return FaRLParser(self.labels, self.weights, self.detector_weights, device)
