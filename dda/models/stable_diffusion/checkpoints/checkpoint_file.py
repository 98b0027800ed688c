"""One file of a checkpoint: reading it without running code in it, and the errors that name it."""

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from dda.errors import OptionError, first_line

WEIGHTS_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
"""Endings of the names of files that are read."""


@dataclass(frozen=True)
class CheckpointFile:
    """A file of a checkpoint.

    Attributes:
        checkpoint: file or folder that the user gave.
        path: the same file, or one inside the folder.
    """

    checkpoint: Path
    path: Path

    def make_error(self, reason: str) -> OptionError:
        """Make the error that refuses the checkpoint because of this file.

        Args:
            reason: continues a sentence that begins with the file's name.
        """
        return OptionError("checkpoint", f"{self.path.name} {reason}", self.checkpoint)

    def read(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Read the file's content by name, on the CPU, and its metadata, which only safetensors may have.

        A torch file is unpickled with ``weights_only``: tensors, numbers, text and containers of them. Code is not run.

        Raises:
            OptionError: the file is missing, is no weights file, is damaged, or is a pickle with more than tensors.
        """
        if not self.path.is_file():
            raise self.make_error("is not there")
        if self.path.suffix not in WEIGHTS_SUFFIXES:
            raise self.make_error(f"is no weights file; its name must end in one of {', '.join(WEIGHTS_SUFFIXES)}")
        try:
            if self.path.suffix == ".safetensors":
                with safe_open(self.path, framework="pt") as file:
                    names = file.keys()
                    return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
            content = torch.load(self.path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            found = re.search(r"WeightsUnpickler error: (.*)", str(error))
            raise self.make_error(
                "is damaged, or a pickle with more than tensors in it, which could run code; nothing in it was run "
                f"({found[1] if found else first_line(error)}); save its state_dict as .safetensors instead"
            ) from error
        except Exception as error:  # torch and safetensors have no common class for a damaged file
            raise self.make_error(f"is damaged or cut short: {first_line(error)}; copy or download it again") from error
        if not isinstance(content, dict):
            raise self.make_error(f"holds a {type(content).__name__}; it must hold tensors by name")
        return content, {}

    def check_tensors(self, content: Any, part: str = "") -> dict[str, torch.Tensor]:
        """Check that content is tensors by name, each dense, of floating point and finite; return it.

        Args:
            content: of the file, or of a part of it.
            part: name of the part, for the error; "" for the whole file.

        Raises:
            OptionError: the content is anything else.
        """
        prefix = f"{part}." if part else ""
        if not isinstance(content, Mapping):
            raise self.make_error(f"holds {part} as {type(content).__name__}; it must be tensors by name")
        for name, value in content.items():
            if not isinstance(name, str) or not isinstance(value, torch.Tensor):
                raise self.make_error(
                    f"holds {prefix}{name}, which is {type(value).__name__}; it must be a named tensor"
                )
            if value.layout != torch.strided or value.is_meta or not value.is_floating_point():
                raise self.make_error(f"holds {prefix}{name} as {value.dtype}; it must be dense floating-point numbers")
            if not torch.isfinite(value).all():
                raise self.make_error(
                    f"holds {prefix}{name} with values that are not finite; the training that wrote it failed"
                )
        return dict(content)

    def check_scalar(self, value: torch.Tensor, name: str) -> float:
        """Check that a tensor is a scalar; return its value.

        Args:
            value: the tensor.
            name: of the scalar, for the error.

        Raises:
            OptionError: the tensor has no or several values.
        """
        if value.numel() != 1:
            raise self.make_error(f"holds {name} of shape {tuple(value.shape)}; it must be one number")
        return float(value)
