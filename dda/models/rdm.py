"""The two laws of residual makeup: what the diffusion model yields, and how it meets the source."""

import torch


def compose(
    source: torch.Tensor,
    masks: torch.Tensor,
    makeup: torch.Tensor,
    gains: torch.Tensor,
    detail: torch.Tensor | float = 0.0,
    detail_kept: float = 1.0,
) -> torch.Tensor:
    """y = clip(x + sum_r M_r [k_r R_m - (1 - d) R_d]).

    Args:
        source: x (N, 3, H, W) in [0, 1].
        masks: M_r (N, 4, H, W) in [0, 1], summing to at most 1.
        makeup: R_m (N, 3, H, W).
        gains: k_r (N, 4).
        detail: R_d (N, 3, H, W), the source minus its own reconstruction; 0 for a pixel-space model.
        detail_kept: d in [0, 1].

    Returns:
        The target (N, 3, H, W) in [0, 1]; where every mask is 0 it is the source, bit for bit.
    """
    strength = torch.einsum("nrhw,nr->nhw", masks, gains)[:, None]
    total = masks.sum(1, keepdim=True)
    return (source + strength * makeup - (1 - detail_kept) * total * detail).clamp(0, 1)
