"""Checkpoints of the compact model: a folder of config JSON, safetensors and a model card."""

import json
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dda.errors import UserError, first_line
from dda.files import digest_files

if TYPE_CHECKING:
    from dda.models.compact.network import CompactResidualModel

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
MODEL_CLASS = "CompactResidualModel"


def shipped_checkpoint() -> Path:
    """The weights that come with the package: five named styles."""
    return Path(str(resources.files("dda") / "assets" / "compact"))


def load_compact(checkpoint: str | Path | None, key: str = "model.checkpoint") -> "CompactResidualModel":
    """The compact model of a checkpoint folder (None: the shipped one), in float32, ready to sample.

    ``key`` is the setting that named the folder.

    Raises:
        UserError: no such folder, a checkpoint of another kind, or damaged weights.
    """
    folder = shipped_checkpoint() if checkpoint is None else Path(checkpoint)
    _check_kind(folder, key)
    from dda.models.compact.network import CompactResidualModel  # takes seconds: a config is read without it

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
        raise UserError(f"{key}={folder}: its weights cannot be loaded: {first_line(error)}") from error
    for kind, problem in (("missing_keys", "lacks"), ("unexpected_keys", "holds the unknown")):
        if report[kind]:
            raise UserError(f"{key}={folder}: {WEIGHTS} {problem} {sorted(report[kind])[0]}; train it again")
    bad = [name for name, value in model.named_parameters() if not torch.isfinite(value).all()]
    if bad:
        raise UserError(f"{key}={folder}: {bad[0]} holds values that are not finite; train it again")
    return model.eval().requires_grad_(False)


def known_styles(checkpoint: str | Path | None, key: str = "model.checkpoint") -> list[str]:
    """Names of the styles a checkpoint was trained on, from its config alone; ``key`` is the setting that named it.

    Raises:
        UserError: no such folder, or a checkpoint of another kind.
    """
    folder = shipped_checkpoint() if checkpoint is None else Path(checkpoint)
    _check_kind(folder, key)
    return list(json.loads((folder / CONFIG).read_text()).get("styles", ()))


def checkpoint_digest(checkpoint: str | Path | None) -> str:
    """SHA-256 of a checkpoint's config and weights: what makes its pixels."""
    folder = shipped_checkpoint() if checkpoint is None else Path(checkpoint)
    return digest_files([folder / CONFIG, folder / WEIGHTS])


def _check_kind(folder: Path, key: str) -> None:
    wanted = "a folder with config.json and safetensors, as run_train.py writes it to outputs/train/RUN/checkpoint"
    if not (folder / CONFIG).is_file():
        found = "no config.json in it" if folder.is_dir() else "a file" if folder.exists() else "nothing there"
        raise UserError(f"{key}={folder}: {found}; model=compact takes {wanted}")
    try:
        kind = json.loads((folder / CONFIG).read_text()).get("_class_name")
    except (ValueError, AttributeError) as error:
        raise UserError(f"{key}={folder}: config.json is not a JSON object; model=compact takes {wanted}") from error
    if kind != MODEL_CLASS:
        raise UserError(f"{key}={folder}: holds a {kind or 'model of no class'}; model=compact takes {wanted}")
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"{key}={folder}: no {WEIGHTS} in it; model=compact takes {wanted}")
