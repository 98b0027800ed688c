"""Structure: whether source and target are the same picture of the same face."""

import torch

from dda.metrics.color import luma
from dda.metrics.detail import blurred, correlation
from dda.metrics.metric import Column

GRAIN = 1.0
"""Sigma in pixels, on a side of 512, of the blur that takes out film grain and JPEG blocks."""

_SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


class Structure:
    """Correlation of the luma edges of two pictures."""

    column = Column(
        name="structure",
        unit="",
        low=-1,
        high=1,
        better="higher",
        about="Correlation of the edges of source and target: 1 where nothing moved, near 0 for pictures of different "
        "people; it cannot tell whether there is any makeup.",
    )

    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """(N,) in [-1, 1], of pictures (N, 3, H, W) in [0, 1]."""
        everywhere = a.new_ones(len(a), 1, *a.shape[-2:])
        return correlation(edges(blurred(luma(a), GRAIN)), edges(blurred(luma(b), GRAIN)), everywhere)


def edges(light: torch.Tensor) -> torch.Tensor:
    """Length of the Sobel gradient of luma (N, 1, H, W)."""
    kernel = light.new_tensor(_SOBEL) / 8
    padded = torch.nn.functional.pad(light, (1, 1, 1, 1), mode="replicate")
    across, down = torch.nn.functional.conv2d(padded, torch.stack([kernel, kernel.T])[:, None]).unbind(1)
    return torch.hypot(across, down)[:, None]
