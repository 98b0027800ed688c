"""Checkpoints of the compact model: a folder of config.json and safetensors, as diffusers saves a model."""

import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dda.errors import OptionError, first_line
from dda.files import digest_files

if TYPE_CHECKING:
    from dda.models.compact.network import CompactResidualModel

CONFIG_NAME = "config.json"
"""File of the network's configuration, as ``save_pretrained`` of diffusers names it."""

WEIGHTS_NAME = "diffusion_pytorch_model.safetensors"
"""File of the weights, as ``save_pretrained`` of diffusers names it."""

MODEL_CLASS = "CompactResidualModel"
"""Class that the configuration must name."""

_EXPECTED = (
    "the compact model takes a folder with config.json and safetensors, as run_train.py writes it to "
    "outputs/train/RUN/checkpoint"
)


def shipped_checkpoint() -> Path:
    """Return the folder of the checkpoint that comes with the package; it has the five named styles."""
    return Path(str(resources.files("dda") / "assets" / "compact"))


def load_compact_model(checkpoint: str | Path | None) -> "CompactResidualModel":
    """Load the compact model of a checkpoint folder, in float32 and evaluation mode.

    Args:
        checkpoint: the folder; None: the one that comes with the package.

    Raises:
        OptionError: the folder does not exist or holds another model, or its weights are damaged.
    """
    folder = _find_folder(checkpoint)
    from dda.models.compact.network import CompactResidualModel  # the import takes seconds

    try:
        model, report = CompactResidualModel.from_pretrained(
            folder,
            torch_dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
            output_loading_info=True,
        )
    except Exception as error:  # diffusers and safetensors have no common class for a damaged file
        raise OptionError("checkpoint", f"its weights cannot be loaded: {first_line(error)}", folder) from error
    for kind, problem in (("missing_keys", "lacks"), ("unexpected_keys", "has the unknown tensor")):
        if report[kind]:
            reason = f"{WEIGHTS_NAME} {problem} {sorted(report[kind])[0]}; train it again"
            raise OptionError("checkpoint", reason, folder)
    not_finite = [name for name, value in model.named_parameters() if not torch.isfinite(value).all()]
    if not_finite:
        raise OptionError("checkpoint", f"{not_finite[0]} has values that are not finite; train it again", folder)
    return model.eval().requires_grad_(False)


def read_style_names(checkpoint: str | Path | None) -> list[str]:
    """Read the names of the styles that a checkpoint was trained on from its configuration.

    Args:
        checkpoint: the folder; None: the one that comes with the package.

    Raises:
        OptionError: the folder does not exist or holds another model.
    """
    return list(json.loads((_find_folder(checkpoint) / CONFIG_NAME).read_text()).get("styles", ()))


def digest_checkpoint(checkpoint: str | Path | None) -> str:
    """Return the SHA-256 of a checkpoint's configuration and weights, which decide pixels.

    Args:
        checkpoint: the folder; None: the one that comes with the package.
    """
    folder = shipped_checkpoint() if checkpoint is None else Path(checkpoint)
    return digest_files([folder / CONFIG_NAME, folder / WEIGHTS_NAME])


def _find_folder(checkpoint: str | Path | None) -> Path:
    """Return the folder of a checkpoint after checking that it holds a compact model.

    Raises:
        OptionError: the folder does not exist or holds another model.
    """
    folder = shipped_checkpoint() if checkpoint is None else Path(checkpoint)
    if not (folder / CONFIG_NAME).is_file():
        reason = "no config.json in it" if folder.is_dir() else "is a file" if folder.exists() else "does not exist"
        raise OptionError("checkpoint", f"{reason}; {_EXPECTED}", folder)
    try:
        class_name = json.loads((folder / CONFIG_NAME).read_text()).get("_class_name")
    except (ValueError, AttributeError) as error:
        raise OptionError("checkpoint", f"config.json is not a JSON object; {_EXPECTED}", folder) from error
    if class_name != MODEL_CLASS:
        raise OptionError("checkpoint", f"holds {class_name or 'a model without a class name'}; {_EXPECTED}", folder)
    if not (folder / WEIGHTS_NAME).is_file():
        raise OptionError("checkpoint", f"no {WEIGHTS_NAME} in it; {_EXPECTED}", folder)
    return folder
