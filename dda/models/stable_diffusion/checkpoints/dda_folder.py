"""Our own format: a folder of ``dda.json`` and a LoRA file that plain diffusers loads too."""

import json
import math
from pathlib import Path
from typing import Any

from diffusers import UNet2DConditionModel

from dda.models.stable_diffusion.checkpoints.applied_checkpoint import (
    AppliedCheckpoint,
    Reading,
    describe,
    order_regions,
)
from dda.models.stable_diffusion.checkpoints.checkpoint_file import CheckpointFile
from dda.models.stable_diffusion.checkpoints.lora_file import NAMES, merge_lora
from dda.regions import REGIONS

CONFIG = "dda.json"
WEIGHTS = NAMES[0]
FORMAT = "dda-sd15"
VERSION = 1
_TEXTS = ("prompt", "bare_prompt", "base")


def read_ours(folder: Path, unet: UNet2DConditionModel) -> Reading:
    """The LoRA of the folder merged into the U-Net's weights, and what ``dda.json`` says.

    Raises:
        UserError: ``dda.json`` is not as this version writes it, or the LoRA does not fit the U-Net.
    """
    config = read_config(folder)
    file = CheckpointFile(folder, folder / WEIGHTS)
    weights, loaded, ignored = merge_lora(file, *file.read(), unet)
    alpha, region_weights = (
        float(config["alpha"]),
        {region: float(config["region_weights"][region]) for region in REGIONS},
    )
    loaded = f"{loaded}, trained from {config['base']} on {len(config['styles'])} styles"
    return Reading(
        weights,
        AppliedCheckpoint(
            describe(FORMAT, loaded, ignored, alpha, region_weights),
            alpha,
            order_regions(region_weights),
            prompt=config["prompt"],
            bare_prompt=config["bare_prompt"],
            base=config["base"],
            strength=float(config["strength"]),
        ),
    )


def read_config(folder: Path) -> dict[str, Any]:
    """What ``dda.json`` of a folder says, every key of it checked; no weights are read.

    Raises:
        UserError: it is not as this version writes it.
    """
    file = CheckpointFile(folder, folder / CONFIG)
    try:
        config = json.loads(file.path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise file.refusal(f"cannot be read as JSON: {error}") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise file.refusal(f'does not say "format": "{FORMAT}"')
    if config.get("version") != VERSION:
        raise file.refusal(f"is of version {config.get('version')}; this program reads version {VERSION}: update it")
    regions = config.get("region_weights")
    if not isinstance(regions, dict):
        raise file.refusal(f"has region_weights={regions}; it must be a number for each of {', '.join(REGIONS)}")
    numbers = {name: config.get(name) for name in ("alpha", "strength")}
    numbers |= {f"region_weights.{region}": regions.get(region) for region in REGIONS}
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise file.refusal(f"has {name}={number}; it must be a finite number")
    styles = config.get("styles")
    if not isinstance(styles, list) or not styles or not all(isinstance(style, str) for style in styles):
        raise file.refusal(f"has styles={styles}; it must be a list of names")
    for name in _TEXTS:
        if not isinstance(config.get(name), str):
            raise file.refusal(f"has {name}={config.get(name)}; it must be text")
    return config
