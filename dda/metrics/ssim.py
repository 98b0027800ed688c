"""SSIM (Wang et al. 2004): how alike two pictures are in local lightness, contrast and structure."""

import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from dda.metrics.metric import Column


class Ssim:
    """Mean over the channels, Gaussian window of 11 pixels (sigma 1.5), as in the original paper."""

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
        """SSIM (N,) of pictures (N, 3, H, W) in [0, 1]."""
        value = structural_similarity_index_measure(a, b, data_range=1.0, reduction="none")
        assert isinstance(value, torch.Tensor)  # a tuple only where the full map is asked for
        return value.reshape(len(a))
