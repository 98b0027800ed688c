"""PSNR: the mean squared difference of two pictures, in decibels."""

import torch

from dda.metrics.metric import Column, weighted_mean

MAX_PSNR_DB = 100.0
"""Decibels of equal pictures: as infinity, one of them would make the mean of a set infinite. One gray level everywhere
is 48 dB, one in each 150,000 values is 100."""


class Psnr:
    """10 log10(1 / MSE) over all pixels and channels; 100 dB at most, which is what equal pictures have."""

    column = Column(
        name="psnr",
        unit="dB",
        low=0,
        high=MAX_PSNR_DB,
        better="none",
        about=f"Peak signal-to-noise ratio of source and target; it is {MAX_PSNR_DB:g} dB, its ceiling, where nothing "
        "was painted, so it can tell how much changed but not whether the makeup is good.",
    )

    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return the PSNR (N,) in dB of pictures (N, 3, H, W) in [0, 1]."""
        return _to_decibels((a - b).square().mean((1, 2, 3)))


def masked_psnr(a: torch.Tensor, b: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the PSNR (N,) in dB under a mask (N, 1, H, W) in [0, 1], 100 dB at most; NaN where the mask is empty.

    >>> a, b = torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.1)
    >>> masked_psnr(a, b, torch.ones(1, 1, 8, 8)).item()
    20.0
    >>> masked_psnr(a, a, torch.ones(1, 1, 8, 8)).item()
    100.0
    """
    return _to_decibels(weighted_mean((a - b).square().mean(1, keepdim=True), mask))


def _to_decibels(error: torch.Tensor) -> torch.Tensor:
    return -10 * torch.log10(error.clamp_min(10 ** (-MAX_PSNR_DB / 10)))
