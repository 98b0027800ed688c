"""The seed format: one torch file of ``rdm_state_dict``, ``fgmm_state_dict`` and ``unet_state_dict``.

``rdm_state_dict`` has alpha and, because the RDM wraps the U-Net, a copy of the U-Net as ``unet.*``;
``fgmm_state_dict`` has a weight for each of eyes, lips and skin, and may have one for brows. The state dict of a U-Net
that was trained with LoRA processors has their keys too.
"""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from dda.models.stable_diffusion.checkpoints.applied_checkpoint import (
    AppliedCheckpoint,
    ParsedCheckpoint,
    check_unet_weights,
    stack_region_weights,
    summarize_checkpoint,
)
from dda.models.stable_diffusion.checkpoints.checkpoint_file import CheckpointFile
from dda.models.stable_diffusion.checkpoints.lora_file import describe_layers
from dda.models.stable_diffusion.checkpoints.lora_layer import build_layers, merge_layers, parse_key
from dda.regions import REGIONS

RDM_KEY, FGMM_KEY, UNET_KEY = "rdm_state_dict", "fgmm_state_dict", "unet_state_dict"
"""Keys of the three parts of the file."""

REQUIRED_REGIONS = ("eyes", "lips", "skin")
"""Regions that must have a weight; those of the paper."""


def is_seed_format(content: Mapping[str, Any]) -> bool:
    """Whether a file's content has any of the three parts."""
    return any(part in content for part in (RDM_KEY, FGMM_KEY, UNET_KEY))


def read_seed_format(file: CheckpointFile, content: Mapping[str, Any], unet: UNet2DConditionModel) -> ParsedCheckpoint:
    """Read the U-Net of ``unet_state_dict``, which is preferred to the RDM's copy, alpha and the region weights.

    Raises:
        OptionError: a part or a key is missing, unknown, of another shape or not finite.
    """
    for part in (RDM_KEY, FGMM_KEY, UNET_KEY):
        if part not in content:
            raise file.make_error(f"has no {part}; the seed format needs {RDM_KEY}, {FGMM_KEY} and {UNET_KEY}")
    unet_state = file.check_tensors(content[UNET_KEY], UNET_KEY)
    unet_weights, lora = _merge_unet_state(file, unet_state, unet)
    alpha, unet_copy, unknown_rdm = _read_rdm(file, content[RDM_KEY])
    region_weights, unknown_fgmm = _read_fgmm(file, content[FGMM_KEY])
    unknown = [key for key in content if key not in (RDM_KEY, FGMM_KEY, UNET_KEY)]
    ignored = unknown + unknown_rdm + unknown_fgmm
    loaded = f"U-Net of {UNET_KEY} ({len(unet_weights)} tensors{lora}), {_describe_copy(unet_state, unet_copy)}"
    return ParsedCheckpoint(
        unet_weights,
        AppliedCheckpoint(
            summarize_checkpoint("seed format", loaded, ignored, alpha, region_weights),
            alpha,
            stack_region_weights(region_weights),
        ),
    )


def _merge_unet_state(
    file: CheckpointFile, unet_state: Mapping[str, torch.Tensor], unet: UNet2DConditionModel
) -> tuple[dict[str, torch.Tensor], str]:
    """Return every weight of the U-Net with its LoRA layers merged in, and a description of those layers."""
    lora_tensors = {key: tensor for key, tensor in unet_state.items() if parse_key(key) is not None}
    weights = {key: tensor for key, tensor in unet_state.items() if key not in lora_tensors}
    missing = unet.state_dict().keys() - weights.keys()
    if missing:
        raise file.make_error(
            f"lacks {UNET_KEY}.{min(missing)}, which this U-Net has: it is of another model, or cut short"
        )
    check_unet_weights(file, weights, unet)
    layers = build_layers(file, lora_tensors, lambda module, rank: 1.0)
    merged = merge_layers(file, layers, weights)
    check_unet_weights(file, merged, unet)
    return weights | merged, f", {describe_layers(layers, list(lora_tensors))}" if layers else ""


def _read_rdm(file: CheckpointFile, part: Any) -> tuple[float, dict[str, torch.Tensor], list[str]]:
    """Return alpha, the copy of the U-Net, and the names of unknown keys."""
    tensors = file.check_tensors(part, RDM_KEY)
    if "alpha" not in tensors:
        raise file.make_error(f"lacks {RDM_KEY}.alpha, the weight of the residual")
    unet_copy = {key.removeprefix("unet."): tensor for key, tensor in tensors.items() if key.startswith("unet.")}
    unknown = [f"{RDM_KEY}.{key}" for key in tensors if key != "alpha" and not key.startswith("unet.")]
    return file.check_scalar(tensors["alpha"], f"{RDM_KEY}.alpha"), unet_copy, unknown


def _read_fgmm(file: CheckpointFile, part: Any) -> tuple[dict[str, float], list[str]]:
    """Return the region weights by region, and the names of unknown keys."""
    tensors = file.check_tensors(part, FGMM_KEY)
    for region in REQUIRED_REGIONS:
        if f"{region}_weight" not in tensors:
            raise file.make_error(f"lacks {FGMM_KEY}.{region}_weight")
    regions = {f"{region}_weight": region for region in REGIONS}
    weights = {
        region: file.check_scalar(tensors[key], f"{FGMM_KEY}.{key}")
        for key, region in regions.items()
        if key in tensors
    }
    return weights, [f"{FGMM_KEY}.{key}" for key in tensors if key not in regions]


def _describe_copy(unet_state: Mapping[str, torch.Tensor], unet_copy: Mapping[str, torch.Tensor]) -> str:
    """Describe whether the RDM's copy of the U-Net equals the U-Net."""
    if not unet_copy:
        return f"{RDM_KEY} has no copy of it"
    names = unet_state.keys() | unet_copy.keys()
    differing = [
        name
        for name in names
        if name not in unet_state or name not in unet_copy or not _are_equal(unet_state[name], unet_copy[name])
    ]
    if not differing:
        return f"{RDM_KEY} agrees"
    return f"{RDM_KEY} differs in {len(differing)} tensors ({min(differing)}): {UNET_KEY} wins"


def _are_equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and bool((one == other).all())
