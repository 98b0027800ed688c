"""Pretrained models: which model a folder or hub id holds, as the options to open it with."""

import difflib
import json
import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub.errors import HFValidationError

from dda.errors import OptionError, first_line
from dda.models.compact.checkpoint import CONFIG_NAME as COMPACT_CONFIG
from dda.models.compact.checkpoint import MODEL_CLASS
from dda.models.compact.checkpoint import WEIGHTS_NAME as COMPACT_WEIGHTS
from dda.models.compact.options import CompactOptions
from dda.models.hub import download_repository, find_cached_repository
from dda.models.options import ModelOptions
from dda.models.stable_diffusion.checkpoints.dda_folder import CONFIG_NAME as LORA_CONFIG
from dda.models.stable_diffusion.checkpoints.dda_folder import WEIGHTS_NAME as LORA_WEIGHTS
from dda.models.stable_diffusion.checkpoints.dda_folder import read_config
from dda.models.stable_diffusion.options import StableDiffusionOptions
from dda.options import check_limit, walk_options

PIPELINE_CONFIG = "model_index.json"
"""File that every folder of a diffusers pipeline has."""

TRAINED_CHECKPOINT = "checkpoint"
"""Folder of the checkpoint inside the folder of a training."""

M = TypeVar("M", bound=ModelOptions)


def model_options(path_or_hub_id: str | Path | None, options: Mapping[str, Any]) -> ModelOptions:
    """Return the options of the model that a folder or hub id holds, with ``options`` given by the caller.

    Args:
        path_or_hub_id: None: the compact model that comes with the package; a checkpoint folder of either model, or
            the folder of a training that holds one; or a Stable Diffusion base model.
        options: options of the model by name.

    Raises:
        OptionError: nothing is found, it is none of these, or an option is unknown or not allowed.
    """
    if path_or_hub_id is None:
        return _checked(CompactOptions, options)
    name = str(path_or_hub_id)
    if not os.path.exists(Path(name).expanduser()):
        return _hub_options(name, options)
    path = Path(name).expanduser()
    if (path / TRAINED_CHECKPOINT).is_dir():
        path = path / TRAINED_CHECKPOINT
    return _folder_options(path, options)


def _folder_options(path: Path, options: Mapping[str, Any]) -> ModelOptions:
    if (path / LORA_CONFIG).is_file():
        trained = read_config(path)
        base = {"pretrained": trained["base"], "strength": float(trained["strength"])}
        return _checked(StableDiffusionOptions, {"checkpoint": str(path)} | base | dict(options))
    if (path / PIPELINE_CONFIG).is_file() or (path / "unet").is_dir():
        return _checked(StableDiffusionOptions, {"pretrained": str(path)} | dict(options))
    return _checked(CompactOptions, {"checkpoint": str(path)} | dict(options))


def _hub_options(name: str, options: Mapping[str, Any]) -> ModelOptions:
    folder = _download(name, [COMPACT_CONFIG, LORA_CONFIG])
    if (folder / LORA_CONFIG).is_file():
        return _folder_options(_download(name, [LORA_CONFIG, LORA_WEIGHTS]), options)
    if _is_compact(folder):
        return _folder_options(_download(name, [COMPACT_CONFIG, COMPACT_WEIGHTS]), options)
    return _checked(StableDiffusionOptions, {"pretrained": name} | dict(options))


def _is_compact(folder: Path) -> bool:
    file = folder / COMPACT_CONFIG
    return file.is_file() and json.loads(file.read_text(encoding="utf-8")).get("_class_name") == MODEL_CLASS


def _download(name: str, files: list[str]) -> Path:
    """Return the folder of the Hugging Face cache with those of the files that the repository has.

    Raises:
        OptionError: the repository does not exist or cannot be downloaded.
    """
    try:
        cached = find_cached_repository(name, files)
    except HFValidationError as error:
        raise OptionError(
            "path_or_hub_id", "there is no such folder, and it is not a hub id (owner/name)", name
        ) from error
    if cached and (any((cached / file).is_file() for file in files[1:]) or (cached / "unet").is_dir()):
        return cached
    try:
        return download_repository(name, files)
    except Exception as error:  # the hub's client has changed its exceptions with every HTTP library it used
        raise OptionError(
            "path_or_hub_id",
            "there is no such folder, it is not in the Hugging Face cache, and the download failed "
            f"({first_line(error)}); give a folder, or nothing for the weights that come with the package",
            name,
        ) from error


def _checked(kind: type[M], options: Mapping[str, Any]) -> M:
    known = [one.name for one in fields(kind)]
    for name in options:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            meant = f"did you mean {close[0]}? " if close else ""
            raise OptionError(name, f"{kind().name} has no such option; {meant}allowed: {', '.join(known)}")
    made = kind(**options)
    for name, declared in walk_options(made):
        check_limit(name, getattr(made, name), declared.metadata.get("limit"))
    return made
