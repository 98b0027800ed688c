"""PSNR: the mean squared difference of two pictures, in decibels."""

import torch
from torchmetrics.functional.image import peak_signal_noise_ratio

from dda.metrics.metric import Column, weighted_mean


class Psnr:
    """10 log10(1 / MSE) over all pixels and channels; infinite for equal pictures."""

    column = Column(
        name="psnr",
        unit="dB",
        low=0,
        high=float("inf"),
        better="none",
        about="Peak signal-to-noise ratio of source and target; it is infinite where nothing was painted, so it can "
        "tell how much changed but not whether the makeup is good.",
    )

    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """PSNR (N,) in dB of pictures (N, 3, H, W) in [0, 1]."""
        return peak_signal_noise_ratio(a, b, data_range=1.0, dim=(1, 2, 3), reduction="none")


def masked_psnr(a: torch.Tensor, b: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """PSNR (N,) in dB under a mask (N, 1, H, W) in [0, 1]; NaN where the mask is empty."""
    error = (a - b).square().mean(1, keepdim=True)
    return -10 * torch.log10(weighted_mean(error, mask))
