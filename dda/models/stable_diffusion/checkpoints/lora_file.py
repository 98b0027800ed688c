"""A LoRA file, in the keys of old diffusers, of today's or of peft: ``save_attn_procs`` or ``save_lora_weights``."""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY

from dda.errors import UserError
from dda.models.stable_diffusion.checkpoints.applied_checkpoint import AppliedCheckpoint, Reading, check_fit, describe
from dda.models.stable_diffusion.checkpoints.checkpoint_file import CheckpointFile
from dda.models.stable_diffusion.checkpoints.lora_layer import LoRALayer, merge, pair_up, parse_key, spelling

NAMES = ("pytorch_lora_weights.safetensors", "pytorch_lora_weights.bin")
PEFT_NAMES = ("adapter_model.safetensors", "adapter_model.bin")
PEFT_CONFIG = "adapter_config.json"


def find_lora(folder: Path) -> CheckpointFile | None:
    """The LoRA file of a folder, by the names that diffusers and peft give it; safetensors first."""
    found = [folder / name for name in (*NAMES, *PEFT_NAMES) if (folder / name).is_file()]
    return CheckpointFile(folder, found[0]) if found else None


def is_lora(content: Mapping[str, Any]) -> bool:
    """Whether a file's content is LoRA's: any of its keys."""
    return any(isinstance(key, str) and parse_key(key) is not None for key in content)


def read_lora(
    file: CheckpointFile, content: Mapping[str, Any], metadata: Mapping[str, str], unet: UNet2DConditionModel
) -> Reading:
    """A LoRA file alone; it has no alpha and no region weights.

    Raises:
        UserError: its keys, shapes or values do not fit the U-Net.
    """
    weights, loaded, ignored = merge_lora(file, content, metadata, unet)
    return Reading(weights, AppliedCheckpoint(describe("LoRA", loaded, ignored)))


def merge_lora(
    file: CheckpointFile, content: Mapping[str, Any], metadata: Mapping[str, str], unet: UNet2DConditionModel
) -> tuple[dict[str, torch.Tensor], str, list[str]]:
    """The U-Net's weights with a LoRA file merged in; what was loaded and what was ignored, in words.

    Raises:
        UserError: its keys, shapes or values do not fit the U-Net.
    """
    tensors = file.tensors(content)
    ours = {key: tensor for key, tensor in tensors.items() if not key.startswith("text_encoder")}
    strange = [key for key in ours if parse_key(key) is None]
    if strange:
        raise file.refusal(
            f"holds {strange[0]}, which is no LoRA weight of a U-Net; allowed: X.processor.to_q_lora.down.weight, "
            "X.to_q.lora_layer.down.weight, X.to_q.lora_A.weight and their like"
        )
    if not ours:
        raise file.refusal("holds no LoRA weight of a U-Net")
    layers = pair_up(file, ours, _scales(_adapter_config(file, ours, metadata)))
    weights = merge(file, layers, unet.state_dict())
    check_fit(file, weights, unet)
    text = len(tensors) - len(ours)
    return weights, describe_layers(layers, list(ours)), [f"{text} text encoder tensors"] if text else []


def describe_layers(layers: list[LoRALayer], keys: list[str]) -> str:
    """How many layers, of which ranks, spelled how."""
    ranks = sorted({len(layer.down) for layer in layers})
    return f"{len(layers)} LoRA layers ({spelling(keys)} keys) of rank {', '.join(map(str, ranks))} merged"


def _adapter_config(
    file: CheckpointFile, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> Mapping[str, Any]:
    """peft's LoraConfig of the file: in its metadata, or beside it in peft's own folder; empty where it has none."""
    beside = file.path.parent / PEFT_CONFIG
    text = metadata.get(LORA_ADAPTER_METADATA_KEY)
    where = "metadata" if text is not None else PEFT_CONFIG
    if text is None and not any(key.startswith("base_model.model.") for key in tensors):
        return {}
    if text is None and not beside.is_file():
        raise file.refusal(
            f"was saved by peft with a {PEFT_CONFIG} beside it, which is missing: it tells the LoRA's scale"
        )
    try:
        written = json.loads(beside.read_text(encoding="utf-8") if text is None else text)
        config = {key.removeprefix("unet."): value for key, value in written.items()}
        alphas = [config["lora_alpha"], *(config.get("alpha_pattern") or {}).values()]
    except (ValueError, KeyError, AttributeError) as error:
        raise file.refusal(f"has a {where} that is not peft's LoraConfig: {error}") from error
    for alpha in alphas:
        if not isinstance(alpha, int | float) or not math.isfinite(alpha):
            raise file.refusal(f"has a {where} with a LoRA alpha of {alpha}; it must be a finite number")
    return config


def _scales(config: Mapping[str, Any]) -> Callable[[str, int], float]:
    """Scale of a module by its name and rank: alpha / r, or alpha / sqrt(r) under rank-stabilized LoRA; 1 without."""
    if not config:
        return lambda module, rank: 1.0
    try:
        from peft.utils.other import get_pattern_key
    except ModuleNotFoundError as error:
        raise UserError(
            "model.checkpoint: a LoRA that peft wrote needs peft to be read; install it with pip install -e '.[sd15]'"
        ) from error

    patterns: dict[str, float] = config.get("alpha_pattern") or {}

    def scale(module: str, rank: int) -> float:
        alpha: float = patterns.get(get_pattern_key(list(patterns), module), config["lora_alpha"])
        return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)

    return scale
