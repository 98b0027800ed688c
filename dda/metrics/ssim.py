"""SSIM (Wang et al. 2004): how alike two pictures are in local lightness, contrast and structure."""

import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from dda.metrics.metric import Column

WINDOW_RADIUS_PX = 5
"""Pixels that the window of 11 reaches past its center: where it would leave the picture, SSIM is not taken."""


class Ssim:
    """Mean over the channels, Gaussian window of 11 pixels (sigma 1.5), as in the original paper.

    >>> picture = torch.rand(1, 3, 192, 192, generator=torch.Generator().manual_seed(0))
    >>> round(Ssim()(picture, picture).item(), 4), Ssim()(picture, picture.flip(3)).item() < 0.5
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

    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return SSIM (N,) of pictures (N, 3, H, W) in [0, 1], at least 11 pixels a side."""
        _, local = structural_similarity_index_measure(a, b, data_range=1.0, reduction="none", return_full_image=True)
        return local[..., WINDOW_RADIUS_PX:-WINDOW_RADIUS_PX, WINDOW_RADIUS_PX:-WINDOW_RADIUS_PX].mean((1, 2, 3))
