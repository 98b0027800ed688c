"""One file of a checkpoint: what it holds, read without running any of it, and how it is refused."""

import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from dda.errors import UserError, first_line

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")


@dataclass(frozen=True)
class CheckpointFile:
    """A file of the checkpoint that the user gave: the file itself, or one inside the folder."""

    given: Path
    path: Path

    def refusal(self, reason: str) -> UserError:
        """The mistake, in one line that names what was given, the file and the reason."""
        return UserError(f"model.checkpoint={self.given}: {self.path.name} {reason}")

    def read(self) -> tuple[dict[str, Any], dict[str, str]]:
        """What the file holds by name, on the CPU, and its metadata (safetensors alone has any).

        A torch file is unpickled with ``weights_only``: tensors, numbers, text and containers of them; code in it
        is refused, not run.

        Raises:
            UserError: no such file, a file of another kind, damaged, cut short, or a pickle of more than tensors.
        """
        if not self.path.is_file():
            raise self.refusal("is not there")
        if self.path.suffix not in SUFFIXES:
            raise self.refusal(f"is no weights file; its name must end in one of {', '.join(SUFFIXES)}")
        try:
            if self.path.suffix == ".safetensors":
                with safe_open(self.path, framework="pt") as file:
                    names = file.keys()
                    return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
            content = torch.load(self.path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            found = re.search(r"WeightsUnpickler error: (.*)", str(error))
            raise self.refusal(
                "is damaged, or a pickle with more than tensors in it, which could run code; nothing in it was run "
                f"({found[1] if found else first_line(error)}); save its state_dict as .safetensors instead"
            ) from error
        except Exception as error:  # torch and safetensors have no common class for a damaged file
            raise self.refusal(f"is damaged or cut short: {first_line(error)}; copy or download it again") from error
        if not isinstance(content, dict):
            raise self.refusal(f"holds a {type(content).__name__}; it must hold tensors by name")
        return content, {}

    def tensors(self, content: Any, where: str = "") -> dict[str, torch.Tensor]:
        """`content` as tensors by name: each dense, of floating point and finite.

        Args:
            content: what the file holds, or its part `where`.
            where: name of the part, for the message; "" for the whole file.

        Raises:
            UserError: anything else is in it.
        """
        inside = f"{where}." if where else ""
        if not isinstance(content, Mapping):
            raise self.refusal(f"holds {where} as {type(content).__name__}; it must be tensors by name")
        for name, value in content.items():
            if not isinstance(name, str) or not isinstance(value, torch.Tensor):
                raise self.refusal(f"holds {inside}{name}, which is {type(value).__name__}; it must be a named tensor")
            if value.layout != torch.strided or value.is_meta or not value.is_floating_point():
                raise self.refusal(f"holds {inside}{name} as {value.dtype}; it must be dense floating-point numbers")
            if not torch.isfinite(value).all():
                raise self.refusal(
                    f"holds {inside}{name} with values that are not finite; the training that wrote it failed"
                )
        return dict(content)

    def number(self, value: torch.Tensor, name: str) -> float:
        """The one number that a learned scalar is.

        Raises:
            UserError: it is no scalar.
        """
        if value.numel() != 1:
            raise self.refusal(f"holds {name} of shape {tuple(value.shape)}; it must be one number")
        return float(value)
