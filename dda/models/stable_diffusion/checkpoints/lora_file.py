"""A LoRA file of a U-Net, as diffusers (``save_attn_procs``, ``save_lora_weights``) or peft wrote it."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY

from dda.models.stable_diffusion.checkpoints.applied_checkpoint import (
    AppliedCheckpoint,
    ParsedCheckpoint,
    check_unet_weights,
    summarize_checkpoint,
)
from dda.models.stable_diffusion.checkpoints.checkpoint_file import CheckpointFile
from dda.models.stable_diffusion.checkpoints.lora_layer import (
    LoRALayer,
    build_layers,
    detect_key_format,
    merge_layers,
    parse_key,
)

LORA_WEIGHTS_NAMES = ("pytorch_lora_weights.safetensors", "pytorch_lora_weights.bin")
"""Files of LoRA weights, as diffusers names them."""

PEFT_WEIGHTS_NAMES = ("adapter_model.safetensors", "adapter_model.bin")
"""Files of LoRA weights, as peft names them."""

PEFT_CONFIG_NAME = "adapter_config.json"
"""File of the LoraConfig beside the weights, as peft names it."""


def find_lora_file(folder: Path) -> CheckpointFile | None:
    """Find the LoRA file of a folder by the names that diffusers and peft give it, safetensors first."""
    paths = [folder / name for name in (*LORA_WEIGHTS_NAMES, *PEFT_WEIGHTS_NAMES)]
    found = next((path for path in paths if path.is_file()), None)
    return None if found is None else CheckpointFile(folder, found)


def has_lora_keys(content: Mapping[str, Any]) -> bool:
    """Whether any key of a file's content is one of LoRA weights."""
    return any(isinstance(key, str) and parse_key(key) is not None for key in content)


def read_lora_file(
    file: CheckpointFile, content: Mapping[str, Any], metadata: Mapping[str, str], unet: UNet2DConditionModel
) -> ParsedCheckpoint:
    """Read a LoRA file alone, which has no alpha and no region weights.

    Args:
        file, content, metadata, unet: as for :func:`merge_lora`.

    Raises:
        OptionError: its keys, shapes or values do not fit the U-Net.
    """
    unet_weights, loaded, ignored = merge_lora(file, content, metadata, unet)
    return ParsedCheckpoint(unet_weights, AppliedCheckpoint(summarize_checkpoint("LoRA", loaded, ignored)))


def merge_lora(
    file: CheckpointFile, content: Mapping[str, Any], metadata: Mapping[str, str], unet: UNet2DConditionModel
) -> tuple[dict[str, torch.Tensor], str, list[str]]:
    """Merge a LoRA file with the weights of a U-Net, as ``fuse_lora`` of diffusers does; the U-Net is not changed.

    Args:
        file: the file.
        content: of the file, by key.
        metadata: of the file.
        unet: U-Net of the base model.

    Returns:
        The weights that change, by name; what was loaded, in words; and what was ignored, in words.

    Raises:
        OptionError: its keys, shapes or values do not fit the U-Net.
    """
    # 1. Select the U-Net's tensors
    tensors = file.check_tensors(content)
    unet_tensors = {key: tensor for key, tensor in tensors.items() if not key.startswith("text_encoder")}
    unknown = [key for key in unet_tensors if parse_key(key) is None]
    if unknown:
        raise file.make_error(
            f"holds {unknown[0]}, which is no LoRA weight of a U-Net; allowed: X.processor.to_q_lora.down.weight, "
            "X.to_q.lora_layer.down.weight, X.to_q.lora_A.weight and the like"
        )
    if not unet_tensors:
        raise file.make_error("holds no LoRA weight of a U-Net")
    # 2. Build the layers with their scales, and merge them
    scale_of = _make_scale_function(file, _read_adapter_config(file, unet_tensors, metadata))
    layers = build_layers(file, unet_tensors, scale_of)
    weights = merge_layers(file, layers, unet.state_dict())
    check_unet_weights(file, weights, unet)
    # 3. Describe what was loaded and what was ignored
    num_ignored = len(tensors) - len(unet_tensors)
    ignored = [f"{num_ignored} text encoder tensors"] if num_ignored else []
    return weights, describe_layers(layers, list(unet_tensors)), ignored


def describe_layers(layers: Sequence[LoRALayer], keys: Sequence[str]) -> str:
    """Describe LoRA layers by their number, the format of their keys and their ranks."""
    ranks = ", ".join(map(str, sorted({layer.rank for layer in layers})))
    return f"{len(layers)} LoRA layers ({detect_key_format(keys)} keys) of rank {ranks} merged"


def _read_adapter_config(
    file: CheckpointFile, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]
) -> Mapping[str, Any]:
    """Read peft's LoraConfig from the metadata, or beside the file in a folder of peft; empty if there is none."""
    config_file = file.path.parent / PEFT_CONFIG_NAME
    text = metadata.get(LORA_ADAPTER_METADATA_KEY)
    source = "metadata" if text is not None else PEFT_CONFIG_NAME
    if text is None and not any(key.startswith("base_model.model.") for key in tensors):
        return {}
    if text is None and not config_file.is_file():
        raise file.make_error(
            f"was saved by peft with a {PEFT_CONFIG_NAME} beside it, which is missing: it has the LoRA's scale"
        )
    try:
        written = json.loads(config_file.read_text(encoding="utf-8") if text is None else text)
        config = {key.removeprefix("unet."): value for key, value in written.items()}
        alphas = [config["lora_alpha"], *(config.get("alpha_pattern") or {}).values()]
    except (ValueError, KeyError, AttributeError) as error:
        raise file.make_error(f"has a {source} that is not peft's LoraConfig: {error}") from error
    for alpha in alphas:
        if not isinstance(alpha, int | float) or not math.isfinite(alpha):
            raise file.make_error(f"has a {source} with a LoRA alpha of {alpha}; it must be a finite number")
    return config


def _make_scale_function(file: CheckpointFile, config: Mapping[str, Any]) -> Callable[[str, int], float]:
    """Make the function from a module's name and rank to its scale; without a LoraConfig the scale is 1.

    The scale is alpha / r (LoRA: Hu et al., ICLR 2022, section 4.1), or alpha / sqrt(r) for rank-stabilized LoRA
    (Kalajdzievski, arXiv 2312.03732).
    """
    if not config:
        return lambda module, rank: 1.0
    try:
        from peft.utils.other import get_pattern_key
    except ModuleNotFoundError as error:
        raise file.make_error(
            "was written by peft, and needs peft to be read; install it with pip install -e '.[sd15]'"
        ) from error

    patterns: dict[str, float] = config.get("alpha_pattern") or {}

    def scale_of(module: str, rank: int) -> float:
        alpha: float = patterns.get(get_pattern_key(list(patterns), module), config["lora_alpha"])
        return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)

    return scale_of
