"""Structure: whether source and target are the same picture of the same face."""

import torch

from dda.metrics.color import compute_luma
from dda.metrics.detail import blur_luma, weighted_correlation
from dda.metrics.metric import Column

GRAIN_SIGMA_PX = 1.0
"""Sigma of the Gaussian that removes film grain and JPEG blocks, on a shorter side of 512 pixels."""

_SOBEL_X = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))


class Structure:
    """Correlation of the edges (Sobel gradient magnitude of luma) of two pictures.

    Shape (N,), range [-1, 1], higher is better. NaN where a picture is constant.

    Example:
        >>> picture = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> round(float(Structure()(picture, picture)), 3)
        1.0
        >>> abs(float(Structure()(picture, picture.flip(3)))) < 0.1
        True
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
    oracle_better = ""

    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return the correlation (N,) of pictures (N, 3, H, W) in [0, 1]."""
        uniform_weights = a.new_ones(len(a), 1, *a.shape[-2:])
        edges_a, edges_b = (compute_edges(blur_luma(compute_luma(picture), GRAIN_SIGMA_PX)) for picture in (a, b))
        return weighted_correlation(edges_a, edges_b, uniform_weights)


def compute_edges(luma: torch.Tensor) -> torch.Tensor:
    """Return the length of the Sobel gradient of luma (N, 1, H, W)."""
    kernel = luma.new_tensor(_SOBEL_X) / 8
    padded = torch.nn.functional.pad(luma, (1, 1, 1, 1), mode="replicate")
    x, y = torch.nn.functional.conv2d(padded, torch.stack([kernel, kernel.T])[:, None]).unbind(1)
    return torch.hypot(x, y)[:, None]
