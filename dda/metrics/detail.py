"""Detail kept: whether the fine texture of the skin is the same after the makeup."""

import torch
from torchvision.transforms.functional import gaussian_blur

from dda.metrics.color import compute_luma
from dda.metrics.metric import Column, PairBatch, weighted_mean

DETAIL_SIGMA_PX = 2.0
"""Sigma of the Gaussian that separates detail from shading, on a shorter side of 512 pixels."""


class DetailKept:
    """Correlation of the high-frequency luma of source and target under the skin mask.

    Shape (N,), range [-1, 1], higher is better. NaN where a face has no skin mask. The high frequencies are luma minus
    its Gaussian blur (unsharp masking).

    Example:
        >>> source = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> masks = torch.zeros(1, 4, 64, 64)
        >>> masks[:, 2] = 1  # all is skin
        >>> oval, has_face = torch.ones(1, 1, 64, 64, dtype=torch.bool), torch.tensor([True])
        >>> darker = PairBatch(source, 0.8 * source, None, masks, oval, has_face)
        >>> round(float(DetailKept()(darker)["detail_kept"]), 3)
        1.0
        >>> mirrored = PairBatch(source, source.flip(3), None, masks, oval, has_face)
        >>> abs(float(DetailKept()(mirrored)["detail_kept"])) < 0.1
        True
    """

    columns = (
        Column(
            name="detail_kept",
            unit="",
            low=-1,
            high=1,
            better="higher",
            about="Correlation of the skin's fine texture before and after (1: every pore where it was); it is 1 where "
            "nothing was painted, and does not see texture that only got fainter.",
        ),
    )

    def __call__(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        """Return the correlation of each pair (N,)."""
        source, target = extract_detail(batch.source), extract_detail(batch.target)
        return {"detail_kept": weighted_correlation(source, target, batch.region_mask("skin"))}


def extract_detail(image: torch.Tensor) -> torch.Tensor:
    """Return the high frequencies of luma, (N, 1, H, W), of pictures (N, 3, H, W)."""
    luma = compute_luma(image)
    return luma - blur_luma(luma, DETAIL_SIGMA_PX)


def blur_luma(luma: torch.Tensor, sigma: float) -> torch.Tensor:
    """Blur luma (N, 1, H, W) by a Gaussian of ``sigma`` pixels on a shorter side of 512."""
    scaled = sigma * min(luma.shape[-2:]) / 512
    size = 2 * round(3 * scaled) + 1
    return gaussian_blur(luma, [size, size], [scaled, scaled])


def weighted_correlation(a: torch.Tensor, b: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return Pearson's correlation (N,) of a and b under weights, all (N, 1, H, W); NaN where a or b is constant."""
    a = a - weighted_mean(a, weights)[:, None, None, None]
    b = b - weighted_mean(b, weights)[:, None, None, None]
    variances = weighted_mean(a * a, weights) * weighted_mean(b * b, weights)
    return weighted_mean(a * b, weights) / torch.sqrt(variances)
