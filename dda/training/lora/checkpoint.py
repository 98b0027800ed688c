"""Checkpoints of LoRA training: our folder, which plain diffusers loads too, and the seed format."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import get_peft_model_state_dict

from dda.files import write_atomically
from dda.models.residuals import ALPHA_REF
from dda.models.stable_diffusion.checkpoints.dda_folder import CONFIG, FORMAT, VERSION
from dda.models.stable_diffusion.checkpoints.loader import apply_checkpoint
from dda.models.stable_diffusion.pretrained import load_stable_diffusion
from dda.regions import REGIONS
from dda.training.model_card import Kind, write_card
from dda.training.state import save_torch

SEED_FILE = "checkpoint.pth"


@dataclass(frozen=True)
class Made:
    """What a checkpoint was made of, and what for.

    Attributes:
        base: hub id of the model it was trained from, or absolute path of its folder.
        rank: of the LoRA matrices.
        styles: their names.
        prompt: of a style, ``{style}`` where its name goes.
        bare_prompt: of a bare face.
        strength: ``model.strength`` of the passes it learnt.
    """

    base: str
    rank: int
    styles: Sequence[str]
    prompt: str
    bare_prompt: str
    strength: float


def save_checkpoint(
    folder: Path, unet: Any, made: Made, facts: Mapping[str, object], figures: Mapping[str, float]
) -> None:
    """Write our folder: the LoRA matrices, a model card and, last of all, ``dda.json``.

    LoRA learns neither alpha nor region weights: they are the initial ones.

    Args:
        folder: to write.
        unet: a UNet2DConditionModel with one LoRA adapter.
        made: what its readers need to know.
        facts: how it was trained, by name.
        figures: what was measured, by name.
    """
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=lora_weights(unet))
    write_card(folder, _kind(made), made.styles, facts, figures)
    learned = {"alpha": ALPHA_REF, "region_weights": dict.fromkeys(REGIONS, 1.0)}
    config = {"format": FORMAT, "version": VERSION, **learned, **asdict(made)}
    write_atomically(folder / CONFIG, json.dumps(config, indent=2, ensure_ascii=False).encode())


def lora_weights(unet: Any) -> dict[str, torch.Tensor]:
    """The LoRA matrices under diffusers' names, on the CPU."""
    weights = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    return {name: weight.detach().cpu().contiguous() for name, weight in weights.items()}


def save_seed_format(file: Path, checkpoint: Path, pretrained: str) -> None:
    """Write a checkpoint of ours in the seed format, its LoRA merged into the whole U-Net (float32).

    The U-Net is there twice by name, as that format has it, and once in bytes.

    Raises:
        UserError: the base model is not there any more.
        OSError: the file cannot be written; nothing of it is left then.
    """
    unet = load_stable_diffusion(pretrained).unet
    applied = apply_checkpoint(checkpoint, unet)
    weights = unet.state_dict()
    scalars = {f"{region}_weight": applied.region_weights[REGIONS.index(region)] for region in ("eyes", "lips", "skin")}
    save_torch(
        file,
        {
            "rdm_state_dict": {
                "alpha": torch.tensor(applied.alpha),
                **{f"unet.{name}": weight for name, weight in weights.items()},
            },
            "fgmm_state_dict": scalars,
            "unet_state_dict": weights,
        },
    )


def _kind(made: Made) -> Kind:
    hub_id = [] if Path(made.base).is_dir() else [f"base_model: {made.base}"]
    return Kind(
        ("library_name: diffusers", "tags: [makeup, paired-data, residual-diffusion, lora, stable-diffusion]", *hub_id),
        "LoRA of Stable Diffusion for makeup",
        (
            "Paints a style of makeup where the prompt names it: "
            f"`{made.prompt}`. The prompt `{made.bare_prompt}` keeps a face bare.",
            "Load it with `StableDiffusionPipeline.load_lora_weights(FOLDER)` of diffusers, or amplify with",
            f"`python run_amplify.py model=sd15 model.pretrained={made.base} model.strength={made.strength:g} "
            "model.checkpoint=FOLDER style_set=checkpoint`.",
        ),
    )
