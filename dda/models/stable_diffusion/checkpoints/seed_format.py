"""The seed format: one torch file of ``rdm_state_dict``, ``fgmm_state_dict`` and ``unet_state_dict``.

``rdm_state_dict`` is alpha and, because the RDM wraps the U-Net, ``unet.*`` once more; ``fgmm_state_dict`` is a weight
for each of eyes, lips and skin. Where a U-Net was trained with LoRA processors, its state dict has their keys too.
"""

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from dda.models.stable_diffusion.checkpoints.applied_checkpoint import (
    AppliedCheckpoint,
    Reading,
    check_fit,
    describe,
    order_regions,
)
from dda.models.stable_diffusion.checkpoints.checkpoint_file import CheckpointFile
from dda.models.stable_diffusion.checkpoints.lora_file import describe_layers
from dda.models.stable_diffusion.checkpoints.lora_layer import merge, pair_up, parse_key
from dda.regions import REGIONS

RDM, FGMM, UNET = "rdm_state_dict", "fgmm_state_dict", "unet_state_dict"


def is_seed(content: Mapping[str, Any]) -> bool:
    """Whether a file's content is the seed format's: any of its three parts."""
    return any(part in content for part in (RDM, FGMM, UNET))


def read_seed(file: CheckpointFile, content: Mapping[str, Any], unet: UNet2DConditionModel) -> Reading:
    """The U-Net of ``unet_state_dict``, which wins over the RDM's copy of it, alpha and the region weights.

    Raises:
        UserError: a part or a key is missing, strange, of another shape or not finite.
    """
    for part in (RDM, FGMM, UNET):
        if part not in content:
            raise file.refusal(f"has no {part}; the seed format needs {RDM}, {FGMM} and {UNET}")
    whole = file.tensors(content[UNET], UNET)
    weights, lora = _unet_weights(file, whole, unet)
    alpha, copy, strange = _read_rdm(file, content[RDM])
    region_weights, others = _read_fgmm(file, content[FGMM])
    ignored = [key for key in content if key not in (RDM, FGMM, UNET)] + strange + others
    loaded = f"U-Net of {UNET} ({len(weights)} tensors{lora}), {_compare(whole, copy)}"
    return Reading(
        weights,
        AppliedCheckpoint(
            describe("seed format", loaded, ignored, alpha, region_weights),
            alpha,
            order_regions(region_weights),
        ),
    )


def _unet_weights(
    file: CheckpointFile, whole: Mapping[str, torch.Tensor], unet: UNet2DConditionModel
) -> tuple[dict[str, torch.Tensor], str]:
    """Every weight of the U-Net with its LoRA merged in, and how to say so."""
    parts = {key: tensor for key, tensor in whole.items() if parse_key(key) is not None}
    weights = {key: tensor for key, tensor in whole.items() if key not in parts}
    missing = unet.state_dict().keys() - weights.keys()
    if missing:
        raise file.refusal(f"lacks {UNET}.{min(missing)}, which this U-Net has: it is of another model, or cut short")
    check_fit(file, weights, unet)
    layers = pair_up(file, parts, lambda module, rank: 1.0)
    merged = merge(file, layers, weights)
    check_fit(file, merged, unet)
    return weights | merged, f", {describe_layers(layers, list(parts))}" if layers else ""


def _read_rdm(file: CheckpointFile, part: Any) -> tuple[float, dict[str, torch.Tensor], list[str]]:
    """alpha, the copy of the U-Net, and the names of what else there is."""
    tensors = file.tensors(part, RDM)
    if "alpha" not in tensors:
        raise file.refusal(f"lacks {RDM}.alpha, the weight of the residual")
    copy = {key.removeprefix("unet."): tensor for key, tensor in tensors.items() if key.startswith("unet.")}
    strange = [f"{RDM}.{key}" for key in tensors if key != "alpha" and not key.startswith("unet.")]
    return file.number(tensors["alpha"], f"{RDM}.alpha"), copy, strange


def _read_fgmm(file: CheckpointFile, part: Any) -> tuple[dict[str, float], list[str]]:
    """The region weights that are there, and the names of what else there is."""
    tensors = file.tensors(part, FGMM)
    for region in ("eyes", "lips", "skin"):
        if f"{region}_weight" not in tensors:
            raise file.refusal(f"lacks {FGMM}.{region}_weight")
    names = {f"{region}_weight": region for region in REGIONS}
    weights = {
        region: file.number(tensors[name], f"{FGMM}.{name}") for name, region in names.items() if name in tensors
    }
    return weights, [f"{FGMM}.{key}" for key in tensors if key not in names]


def _compare(whole: Mapping[str, torch.Tensor], copy: Mapping[str, torch.Tensor]) -> str:
    """Whether the RDM's copy of the U-Net is the same, in words."""
    if not copy:
        return f"{RDM} has no copy of it"
    names = whole.keys() | copy.keys()
    differing = [name for name in names if name not in whole or name not in copy or not _same(whole[name], copy[name])]
    if not differing:
        return f"{RDM} agrees"
    return f"{RDM} differs in {len(differing)} tensors ({min(differing)}): {UNET} wins"


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and bool((one == other).all())
