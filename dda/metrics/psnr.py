"""PSNR: the mean squared difference of two pictures, in decibels."""

import torch

from dda.metrics.metric import Column, weighted_mean

MAX_PSNR_DB = 100.0
"""Value of equal pictures, instead of infinity, which would make the mean of a set infinite. One gray level everywhere
is 48 dB; one in each 150,000 values is 100."""


class Psnr:
    """Peak signal-to-noise ratio 10 log10(1 / MSE) over all pixels and channels.

    Shape (N,), in dB, range [0, `MAX_PSNR_DB`], higher is nearer.

    Example:
        >>> picture = torch.full((1, 3, 8, 8), 0.5)
        >>> Psnr()(picture, picture + 0.1), Psnr()(picture, picture)
        (tensor([20.0000]), tensor([100.]))
    """

    column = Column(
        name="psnr",
        unit="dB",
        low=0,
        high=MAX_PSNR_DB,
        better="none",
        about=f"Peak signal-to-noise ratio of source and target; it is {MAX_PSNR_DB:g} dB, its maximum, where nothing "
        "was painted, so it can tell how much changed but not whether the makeup is good.",
    )
    oracle_better = "higher"

    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return PSNR (N,) of pictures (N, 3, H, W) in [0, 1]."""
        return _to_decibels((a - b).square().mean((1, 2, 3)))


def masked_psnr(a: torch.Tensor, b: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return PSNR (N,) under a mask (N, 1, H, W) in [0, 1], `MAX_PSNR_DB` at most; NaN where the mask is empty."""
    return _to_decibels(weighted_mean((a - b).square().mean(1, keepdim=True), mask))


def _to_decibels(error: torch.Tensor) -> torch.Tensor:
    return -10 * torch.log10(error.clamp_min(10 ** (-MAX_PSNR_DB / 10)))
