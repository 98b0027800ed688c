"""Structure: whether source and target are the same picture of the same face."""

import torch

from dda.metrics.color import compute_luma
from dda.metrics.detail import blur, weighted_correlation
from dda.metrics.metric import Column

GRAIN_SIGMA_PX = 1.0
"""Sigma in pixels, on a side of 512, of the blur that takes out film grain and JPEG blocks."""

_SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


class Structure:
    """Correlation of the luma edges of two pictures.

    >>> picture = torch.rand(1, 3, 192, 192, generator=torch.Generator().manual_seed(0))
    >>> round(Structure()(picture, picture).item(), 4), Structure()(picture, picture.flip(3)).item() < 0.5
    (1.0, True)
    """

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
        """Return the correlation (N,) in [-1, 1], of pictures (N, 3, H, W) in [0, 1]."""
        everywhere = a.new_ones(len(a), 1, *a.shape[-2:])
        return weighted_correlation(
            compute_edges(blur(compute_luma(a), GRAIN_SIGMA_PX)),
            compute_edges(blur(compute_luma(b), GRAIN_SIGMA_PX)),
            everywhere,
        )


def compute_edges(light: torch.Tensor) -> torch.Tensor:
    """Return the length of the Sobel gradient of luma (N, 1, H, W)."""
    kernel = light.new_tensor(_SOBEL) / 8
    padded = torch.nn.functional.pad(light, (1, 1, 1, 1), mode="replicate")
    across, down = torch.nn.functional.conv2d(padded, torch.stack([kernel, kernel.T])[:, None]).unbind(1)
    return torch.hypot(across, down)[:, None]
