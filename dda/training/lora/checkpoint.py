"""Checkpoints of LoRA training: the project's own folder, which plain diffusers also loads, and the seed format."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import get_peft_model_state_dict

from dda.files import write_atomically
from dda.models.residuals import ALPHA_REF
from dda.models.stable_diffusion.checkpoints.dda_folder import CONFIG_NAME, FORMAT_NAME, FORMAT_VERSION
from dda.models.stable_diffusion.checkpoints.loader import apply_checkpoint
from dda.models.stable_diffusion.pretrained import load_stable_diffusion
from dda.regions import REGIONS
from dda.training.model_card import ModelCard
from dda.training.state import save_torch

SEED_FORMAT_NAME = "checkpoint.pth"
"""File of the seed format, in the folder of the run."""


@dataclass(frozen=True)
class CheckpointConfig:
    """What ``dda.json`` records of a checkpoint.

    Attributes:
        base: hub id of the model it was trained from, or absolute path of its folder.
        rank: of the LoRA matrices.
        styles: names of the styles.
        prompt: of a style, with ``{style}`` in place of its name.
        bare_prompt: of a bare face.
        strength: share of the noise schedule that it was trained to start from.
    """

    base: str
    rank: int
    styles: list[str]
    prompt: str
    bare_prompt: str
    strength: float


def save_checkpoint(
    folder: Path, unet: Any, config: CheckpointConfig, training: Mapping[str, object], metrics: Mapping[str, float]
) -> None:
    """Write the LoRA matrices, the model card and, last, ``dda.json``.

    LoRA trains neither alpha nor the region weights: their initial values are written.

    Args:
        folder: to write.
        unet: a UNet2DConditionModel with one LoRA adapter.
        config: what is needed to load the checkpoint.
        training: how it was trained, by name.
        metrics: what was measured, by name.
    """
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=lora_state_dict(unet))
    _model_card(config).write(folder, config.styles, training, metrics)
    untrained = {"alpha": ALPHA_REF, "region_weights": dict.fromkeys(REGIONS, 1.0)}
    content = {"format": FORMAT_NAME, "version": FORMAT_VERSION, **untrained, **asdict(config)}
    write_atomically(folder / CONFIG_NAME, json.dumps(content, indent=2, ensure_ascii=False).encode())


def lora_state_dict(unet: Any) -> dict[str, torch.Tensor]:
    """Return the LoRA matrices under the names of diffusers, on the CPU."""
    weights = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    return {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}


def save_seed_format(file: Path, checkpoint: Path, pretrained: str) -> None:
    """Write a checkpoint in the seed format, with its LoRA merged into the whole U-Net (float32).

    The format has the U-Net under two sets of names; its bytes are stored once.

    Args:
        file: to write.
        checkpoint: the folder of the checkpoint.
        pretrained: the base model.

    Raises:
        OptionError: the base model cannot be loaded any more.
        OSError: the file cannot be written; nothing of it is left.
    """
    unet = load_stable_diffusion(pretrained).unet
    applied = apply_checkpoint(checkpoint, unet)
    weights = unet.state_dict()
    region_weights = {
        f"{region}_weight": applied.region_weights[REGIONS.index(region)] for region in ("eyes", "lips", "skin")
    }
    save_torch(
        file,
        {
            "rdm_state_dict": {
                "alpha": torch.tensor(applied.alpha),
                **{f"unet.{name}": weight for name, weight in weights.items()},
            },
            "fgmm_state_dict": region_weights,
            "unet_state_dict": weights,
        },
    )


def _model_card(config: CheckpointConfig) -> ModelCard:
    base_model = [] if Path(config.base).is_dir() else [f"base_model: {config.base}"]
    return ModelCard(
        (
            "library_name: diffusers",
            "tags: [makeup, paired-data, residual-diffusion, lora, stable-diffusion]",
            *base_model,
        ),
        "LoRA of Stable Diffusion for makeup",
        (
            f"Paints a style of makeup if the prompt names it: `{config.prompt}`. "
            f"The prompt `{config.bare_prompt}` keeps a face bare.",
            "Load it with `StableDiffusionPipeline.load_lora_weights(FOLDER)` of diffusers, or amplify with",
            f"`python run_amplify.py model=sd15 model.pretrained={config.base} model.strength={config.strength:g} "
            "model.checkpoint=FOLDER style_set=checkpoint`.",
        ),
    )
