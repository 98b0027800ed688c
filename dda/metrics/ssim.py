"""SSIM (Wang et al. 2004): similarity of two pictures in local luminance, contrast and structure."""

import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from dda.metrics.metric import Column

WINDOW_RADIUS_PX = 5
"""Half the window of 11 pixels: SSIM is not taken where the window leaves the picture."""


class Ssim:
    """Structural similarity, mean over the channels, with the paper's Gaussian window of 11 pixels (sigma 1.5).

    Shape (N,), range [-1, 1], higher is nearer; 1 for equal pictures.

    Example:
        >>> picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
        >>> round(float(Ssim()(picture, picture)), 3), bool(Ssim()(picture, 1 - picture) < 0)
        (1.0, True)
    """

    column = Column(
        name="ssim",
        unit="",
        low=-1,
        high=1,
        better="none",
        about="Structural similarity of source and target; it is greatest where nothing was painted, so it can tell "
        "damage but not whether the makeup is good.",
    )
    oracle_better = "higher"

    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return SSIM (N,) of pictures (N, 3, H, W) in [0, 1], at least 11 pixels a side."""
        _, local = structural_similarity_index_measure(a, b, data_range=1.0, reduction="none", return_full_image=True)
        inside = slice(WINDOW_RADIUS_PX, -WINDOW_RADIUS_PX)
        return local[..., inside, inside].mean((1, 2, 3))
