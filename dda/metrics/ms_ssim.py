"""MS-SSIM (Wang et al. 2003): SSIM over five scales, each half the size of the one before."""

import math

import torch
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from dda.metrics.metric import Column

MIN_SIDE_PX = 176
"""Side in pixels below which the smallest of the five scales is narrower than the window of 11."""


class MsSsim:
    """Multi-scale SSIM with the paper's five weights.

    >>> picture = torch.rand(1, 3, 192, 192, generator=torch.Generator().manual_seed(0))
    >>> round(MsSsim()(picture, picture).item(), 4), MsSsim()(picture, picture.flip(3)).item() < 0.5
    (1.0, True)
    """

    column = Column(
        name="ms_ssim",
        unit="",
        low=0,
        high=1,
        better="none",
        about="Structural similarity of source and target over five scales; it is greatest where nothing was painted, "
        "so it can tell damage but not whether the makeup is good.",
    )

    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return MS-SSIM (N,) of pictures (N, 3, H, W) in [0, 1]; NaN where a side is shorter than `MIN_SIDE_PX`."""
        if min(a.shape[-2:]) < MIN_SIDE_PX:
            return a.new_full((len(a),), math.nan)
        return multiscale_structural_similarity_index_measure(a, b, data_range=1.0, reduction="none").reshape(len(a))
