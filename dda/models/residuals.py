"""Residuals: what a residual diffusion model predicts, and their composition with the source."""

from dataclasses import dataclass

import torch

ALPHA_REF = 0.5
"""Initial value of the residual weight alpha; a checkpoint with this alpha is composed with its residual as it is."""


@dataclass(frozen=True)
class Residuals:
    """Makeup and detail residuals of N pictures (TinyBeauty, section 3.2); a difference of 1 is black to white.

    Attributes:
        makeup: R_m, (N, 3, H, W).
        detail: R_d, the source minus its reconstruction, (N, 3, H, W); 0 for a pixel-space model, which does not
            reconstruct the source.
    """

    makeup: torch.Tensor
    detail: torch.Tensor | float = 0.0

    def is_finite(self) -> torch.Tensor:
        """Return which pictures have residuals without infinities and NaN, (N,) bool; half precision may overflow."""
        return torch.isfinite((self.makeup + self.detail).flatten(1).sum(1, dtype=torch.float32))


def compose(
    source: torch.Tensor,
    masks: torch.Tensor,
    residuals: Residuals,
    gains: torch.Tensor,
    detail_kept: float = 1.0,
) -> torch.Tensor:
    """Compose the target y = clip(x + sum_r M_r [k_r R_m - (1 - d) R_d]).

    The form of TinyBeauty, section 3.2, with a gain for each region and masks that leave the background untouched.

    Args:
        source: x (N, 3, H, W) in [0, 1].
        masks: M_r (N, 4, H, W) in [0, 1], with a sum over r of at most 1.
        residuals: R_m and R_d (N, 3, H, W).
        gains: k_r (N, 4).
        detail_kept: d, the share of the source's own detail that is kept, in [0, 1].

    Returns:
        The target (N, 3, H, W) in [0, 1], equal to the source, bit for bit, where every mask is 0.
    """
    strength = torch.einsum("nrhw,nr->nhw", masks, gains)[:, None]
    total = masks.sum(1, keepdim=True)
    return (source + strength * residuals.makeup - (1 - detail_kept) * total * residuals.detail).clamp(0, 1)
