"""Precision: in which number format a latent model runs, and what that costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dda.errors import UserError
from dda.faces.face import Face
from dda.styles import Style

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_dtype(precision: str, device: torch.device, key: str = "model.precision") -> torch.dtype:
    """The type of ``precision=auto|fp32|bf16|fp16``, the setting ``key``.

    ``auto`` is bf16 on a GPU that computes in it, fp16 on an older one, and fp32 elsewhere.

    Raises:
        UserError: fp16 without a GPU of Nvidia's; a CPU convolves in it some hundred times as slowly as in fp32.
    """
    if precision == "fp16" and device.type != "cuda":
        raise UserError(f"{key}=fp16: needs a GPU of Nvidia's, device={device} is none; use bf16 or fp32")
    if precision != "auto":
        return DTYPES[precision]
    if device.type != "cuda":
        return torch.float32
    with torch.cuda.device(device):
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16


def dtype_name(dtype: torch.dtype) -> str:
    """How a type is recorded: "float32", "bfloat16", "float16"."""
    return str(dtype).removeprefix("torch.")


def vae_dtype(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The type of the VAE beside a U-Net of type ``dtype``: the U-Net's, but never bf16.

    R_m is a difference of two decodes, and bf16's 8 bits of mantissa round each by up to a gray level. fp16 has 11
    bits at the same speed on a GPU; a CPU has no fast convolutions in it, and takes fp32. Measured on a tiny random
    model beside a bf16 U-Net, mean error of R_m in gray levels: 0.80 with the VAE in bf16, 0.25 in fp16, 0.20 in fp32.
    """
    if dtype != torch.bfloat16:
        return dtype
    return torch.float16 if device.type == "cuda" else torch.float32


@dataclass(frozen=True)
class PrecisionError:
    """How far makeup residuals inside the masks are from exact ones: mean and worst in gray levels, mean relative."""

    mean: float
    worst: float
    relative: float


@torch.no_grad()
def precision_error(
    amplifier: Any,
    exact: Any,
    source: torch.Tensor,
    masks: torch.Tensor,
    faces: Sequence[Face],
    noise: torch.Tensor,
    styles: Sequence[Style],
) -> PrecisionError:
    """What an amplifier's precision does to R_m, against the same amplifier in another precision, fp32 as a rule.

    Args:
        amplifier: the one to judge, an :class:`dda.models.residual_pipeline.ResidualPipeline`.
        exact: the one to believe.
        source: (N, 3, H, W) in [0, 1].
        masks: (N, 4, H, W) in [0, 1].
        faces: N faces.
        noise: (N, *noise_shape).
        styles: N styles, one for each face.
    """
    members = range(len(source))
    rounded, believed = (
        model.residuals(
            model.encode_faces(source.to(model.device), masks.to(model.device), faces, noise.to(model.device)),
            members,
            styles,
        ).makeup.cpu()
        for model in (amplifier, exact)
    )
    inside = (masks.cpu().sum(1, keepdim=True) > 0).expand_as(believed)
    error = (rounded - believed)[inside].abs()
    return PrecisionError(
        mean=255 * float(error.mean()),
        worst=255 * float(error.max()),
        relative=float(error.mean() / believed[inside].abs().mean()),
    )
