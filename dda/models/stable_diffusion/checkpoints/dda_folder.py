"""The format of `run_train.py`: a folder with ``dda.json`` and a LoRA file that diffusers loads too."""

import json
import math
from pathlib import Path
from typing import Any

from diffusers import UNet2DConditionModel

from dda.models.stable_diffusion.checkpoints.applied_checkpoint import (
    AppliedCheckpoint,
    ParsedCheckpoint,
    stack_region_weights,
    summarize_checkpoint,
)
from dda.models.stable_diffusion.checkpoints.checkpoint_file import CheckpointFile
from dda.models.stable_diffusion.checkpoints.lora_file import LORA_WEIGHTS_NAMES, merge_lora
from dda.regions import REGIONS

CONFIG_NAME = "dda.json"
"""File of the learned scalars and of what the LoRA was trained with."""

WEIGHTS_NAME = LORA_WEIGHTS_NAMES[0]
"""File of the LoRA weights, as ``save_lora_weights`` of diffusers names it."""

FORMAT_NAME = "dda-sd15"
"""Name of the format, which ``dda.json`` must give."""

FORMAT_VERSION = 1
"""Version of the format, which ``dda.json`` must give."""

_TEXT_KEYS = ("prompt", "bare_prompt", "base")


def read_dda_folder(folder: Path, unet: UNet2DConditionModel) -> ParsedCheckpoint:
    """Read a folder and merge its LoRA weights with the U-Net's.

    Raises:
        OptionError: ``dda.json`` is not of this version of the format, or the LoRA weights do not fit the U-Net.
    """
    config = read_config(folder)
    alpha = float(config["alpha"])
    region_weights = {region: float(config["region_weights"][region]) for region in REGIONS}
    file = CheckpointFile(folder, folder / WEIGHTS_NAME)
    unet_weights, loaded, ignored = merge_lora(file, *file.read(), unet)
    loaded = f"{loaded}, trained from {config['base']} on {len(config['styles'])} styles"
    return ParsedCheckpoint(
        unet_weights,
        AppliedCheckpoint(
            summarize_checkpoint(FORMAT_NAME, loaded, ignored, alpha, region_weights),
            alpha,
            stack_region_weights(region_weights),
            prompt=config["prompt"],
            bare_prompt=config["bare_prompt"],
            base=config["base"],
            strength=float(config["strength"]),
        ),
    )


def read_config(folder: Path) -> dict[str, Any]:
    """Read ``dda.json`` of a folder and check all of its keys; no weights are read.

    Raises:
        OptionError: it is not of this version of the format.
    """
    file = CheckpointFile(folder, folder / CONFIG_NAME)
    try:
        config = json.loads(file.path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise file.make_error(f"cannot be read as JSON: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT_NAME:
        raise file.make_error(f'does not say "format": "{FORMAT_NAME}"')
    if config.get("version") != FORMAT_VERSION:
        raise file.make_error(
            f"is of version {config.get('version')}; this program reads version {FORMAT_VERSION}: update it"
        )
    regions = config.get("region_weights")
    if not isinstance(regions, dict):
        raise file.make_error(f"has region_weights={regions}; it must be a number for each of {', '.join(REGIONS)}")
    numbers = {name: config.get(name) for name in ("alpha", "strength")}
    numbers |= {f"region_weights.{region}": regions.get(region) for region in REGIONS}
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise file.make_error(f"has {name}={number}; it must be a finite number")
    styles = config.get("styles")
    if not isinstance(styles, list) or not styles or not all(isinstance(style, str) for style in styles):
        raise file.make_error(f"has styles={styles}; it must be a list of names")
    for name in _TEXT_KEYS:
        if not isinstance(config.get(name), str):
            raise file.make_error(f"has {name}={config.get(name)}; it must be text")
    return config
