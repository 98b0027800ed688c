"""The two laws of residual makeup: what the diffusion model yields, and how it meets the source."""

from dataclasses import dataclass

import torch

ALPHA_REF = 0.5
"""The residual weight alpha before training, at which a residual is composed as it is."""


@dataclass(frozen=True)
class Residuals:
    """What a residual diffusion model yields for N pictures: both (N, 3, H, W), on a scale where white is 1.

    ``makeup`` is R_m; ``detail`` is R_d, the source minus the model's own reconstruction of it, 0 for a pixel-space
    model, which reconstructs nothing.
    """

    makeup: torch.Tensor
    detail: torch.Tensor | float = 0.0

    def finite(self) -> torch.Tensor:
        """Which of the pictures have residuals without infinities and NaN, (N,): half precision may overflow."""
        return torch.isfinite((self.makeup + self.detail).flatten(1).sum(1, dtype=torch.float32))


def compose(
    source: torch.Tensor,
    masks: torch.Tensor,
    residuals: Residuals,
    gains: torch.Tensor,
    detail_kept: float = 1.0,
) -> torch.Tensor:
    """y = clip(x + sum_r M_r [k_r R_m - (1 - d) R_d]).

    Args:
        source: x (N, 3, H, W) in [0, 1].
        masks: M_r (N, 4, H, W) in [0, 1], summing to at most 1.
        residuals: R_m and R_d (N, 3, H, W).
        gains: k_r (N, 4).
        detail_kept: d in [0, 1].

    Returns:
        The target (N, 3, H, W) in [0, 1]; where every mask is 0 it is the source, bit for bit.
    """
    strength = torch.einsum("nrhw,nr->nhw", masks, gains)[:, None]
    total = masks.sum(1, keepdim=True)
    return (source + strength * residuals.makeup - (1 - detail_kept) * total * residuals.detail).clamp(0, 1)
