"""MS-SSIM (Wang et al. 2003): SSIM over five scales, each half the size of the previous one."""

import math

import torch
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from dda.metrics.metric import Column

MIN_SIDE_PX = 176
"""Shortest side that it measures: below it the smallest of the five scales is narrower than the window of 11."""


class MsSsim:
    """Multi-scale structural similarity with the paper's five weights.

    Shape (N,), range [0, 1], higher is nearer; 1 for equal pictures. NaN where a side is shorter than `MIN_SIDE_PX`.

    Example:
        >>> picture = torch.rand(1, 3, 176, 176, generator=torch.Generator().manual_seed(0))
        >>> round(float(MsSsim()(picture, picture)), 3), float(MsSsim()(picture[..., 1:], picture[..., 1:]))
        (1.0, nan)
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
    oracle_better = "higher"

    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return MS-SSIM (N,) of pictures (N, 3, H, W) in [0, 1]."""
        if min(a.shape[-2:]) < MIN_SIDE_PX:
            return a.new_full((len(a),), math.nan)
        return multiscale_structural_similarity_index_measure(a, b, data_range=1.0, reduction="none").reshape(len(a))
