"""Detail kept: whether the skin's own fine texture survived the makeup."""

import torch
from torchvision.transforms.functional import gaussian_blur

from dda.metrics.color import compute_luma
from dda.metrics.metric import Column, PairBatch, weighted_mean

DETAIL_SIGMA_PX = 2.0
"""Sigma in pixels, on a side of 512, of the blur that detail is what is left above."""


class DetailKept:
    """Correlation of the high-frequency luma of source and target, under the skin mask."""

    columns = (
        Column(
            name="detail_kept",
            unit="",
            low=-1,
            high=1,
            better="higher",
            about="Correlation of the fine texture of the skin before and after (1: every pore where it was); it is "
            "1 where nothing was painted, and does not see texture that only got fainter.",
        ),
    )

    def __call__(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        """Return the correlation (N,) in [-1, 1]; NaN where there is no skin."""
        skin = batch.mask("skin")
        return {"detail_kept": weighted_correlation(extract_detail(batch.source), extract_detail(batch.target), skin)}


def extract_detail(image: torch.Tensor) -> torch.Tensor:
    """Return luma without its low frequencies, (N, 1, H, W)."""
    light = compute_luma(image)
    return light - blur(light, DETAIL_SIGMA_PX)


def blur(light: torch.Tensor, sigma: float) -> torch.Tensor:
    """Return luma (N, 1, H, W) under a Gaussian of ``sigma`` pixels on a shorter side of 512."""
    scaled = sigma * min(light.shape[-2:]) / 512
    size = 2 * round(3 * scaled) + 1
    return gaussian_blur(light, [size, size], [scaled, scaled])


def weighted_correlation(a: torch.Tensor, b: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the Pearson correlation (N,) of a and b (N, 1, H, W) under weights; NaN where one is constant."""
    a = a - weighted_mean(a, weights)[:, None, None, None]
    b = b - weighted_mean(b, weights)[:, None, None, None]
    spread = weighted_mean(a * a, weights) * weighted_mean(b * b, weights)
    return weighted_mean(a * b, weights) / torch.sqrt(spread)
