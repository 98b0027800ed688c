"""Precision: the number formats of Stable Diffusion's networks, and the error of makeup residuals in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dda.errors import OptionError
from dda.faces.face import Face
from dda.models.residual_pipeline import ResidualPipeline
from dda.styles import Style

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
"""Number formats by their names in the options."""


def pick_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Pick the dtype of the U-Net for ``precision`` auto, fp32, bf16 or fp16.

    ``auto`` is bf16 on a GPU that computes in it, fp16 on an older GPU, and fp32 elsewhere.

    Raises:
        OptionError: fp16 without an NVIDIA GPU: convolutions in fp16 on a CPU take some hundred times as long as in
            fp32.
    """
    if precision == "fp16" and device.type != "cuda":
        raise OptionError("precision", f"needs an NVIDIA GPU, device={device} is none; use bf16 or fp32", "fp16")
    if precision != "auto":
        return DTYPES[precision]
    if device.type != "cuda":
        return torch.float32
    with torch.cuda.device(device):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def get_dtype_name(dtype: torch.dtype) -> str:
    """Return the name under which settings record a dtype: "float32", "bfloat16" or "float16"."""
    return str(dtype).removeprefix("torch.")


def pick_vae_dtype(unet_dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """Pick the dtype of the VAE for a U-Net in ``unet_dtype``: the same, but never bf16.

    R_m is the difference of two decoded pictures, and bf16 with its 8 bits of mantissa rounds each by up to a gray
    level. fp16 has 11 bits at the same speed on a GPU; a CPU has no fast convolutions in it, so it takes fp32. Mean
    error of R_m in gray levels, measured on a tiny random model with a bf16 U-Net: 0.80 for a VAE in bf16, 0.25 in
    fp16, 0.20 in fp32.
    """
    if unet_dtype != torch.bfloat16:
        return unet_dtype
    return torch.float16 if device.type == "cuda" else torch.float32


@dataclass(frozen=True)
class ResidualDifference:
    """Absolute difference of makeup residuals inside the masks.

    Attributes:
        mean: in gray levels.
        maximum: in gray levels.
        relative: mean difference as a share of the reference's mean absolute residual.
    """

    mean: float
    maximum: float
    relative: float


@torch.no_grad()
def compare_residuals(
    pipeline: ResidualPipeline[Any],
    reference: ResidualPipeline[Any],
    source: torch.Tensor,
    masks: torch.Tensor,
    faces: Sequence[Face],
    noise: torch.Tensor,
    styles: Sequence[Style],
) -> ResidualDifference:
    """Compare the makeup residuals of a pipeline with those of the same pipeline in another precision.

    Args:
        pipeline: the one to measure.
        reference: the exact one, usually in fp32.
        source: (N, 3, H, W) in [0, 1].
        masks: (N, 4, H, W) in [0, 1].
        faces: N faces.
        noise: (N, *noise_shape).
        styles: N styles, one for each face.
    """
    indices = range(len(source))
    makeup, expected = (
        each.residuals(
            each.encode_faces(source.to(each.device), masks.to(each.device), faces, noise.to(each.device)),
            indices,
            styles,
        ).makeup.cpu()
        for each in (pipeline, reference)
    )
    is_inside = (masks.cpu().sum(1, keepdim=True) > 0).expand_as(expected)
    error = (makeup - expected)[is_inside].abs()
    return ResidualDifference(
        mean=255 * float(error.mean()),
        maximum=255 * float(error.max()),
        relative=float(error.mean() / expected[is_inside].abs().mean()),
    )
