"""Patch mix: an augmentation that replaces soft patches of a face by those of another face in the same style.

It resembles CutMix (Yun et al., ICCV 2019) and FMix (Harris et al., 2020): patches come from thresholded
low-frequency noise as in FMix, with soft borders, and source, target and masks are mixed alike, so labels need no
mixing. With few whole faces a network memorizes each face's makeup; with mixed ones it has to derive makeup from what
is near.
"""

from collections.abc import Collection

import torch
from torch.nn import functional as F

PATCH_MIX_PROBABILITY = 0.5
"""Share of the pairs that are mixed, if the batch has another of their style; whole faces show what depends on them."""

NOISE_GRID_SIZE = 4
"""Side of the grid of random numbers that patches are interpolated from."""

BORDER_STEEPNESS = 8.0
"""Slope of the sigmoid between the two faces, per standard deviation of the noise."""


def mix_patches(crops: torch.Tensor, partners: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return crops with patches of their partners in a random half of them.

    Args:
        crops: (N, C, S, S).
        partners: index of each crop's partner, (N,); a crop that is its own partner stays as it is.
        generator: on the CPU.
    """
    noise = torch.randn((len(crops), 1, NOISE_GRID_SIZE, NOISE_GRID_SIZE), generator=generator)
    smooth_noise = F.interpolate(noise, size=crops.shape[-2:], mode="bicubic", align_corners=False)
    is_mixed = torch.rand((len(crops), 1, 1, 1), generator=generator) < PATCH_MIX_PROBABILITY
    return torch.lerp(crops, crops[partners], is_mixed * torch.sigmoid(BORDER_STEEPNESS * smooth_noise))


def pair_within_styles(styles: torch.Tensor, mixed_styles: Collection[int]) -> torch.Tensor:
    """Return a partner for each crop of a batch, (N,): the next of its style, cyclically.

    Args:
        styles: of the crops (N,).
        mixed_styles: styles to mix; crops of other styles are their own partners.
    """
    partners = torch.arange(len(styles))
    for style in mixed_styles:
        members = torch.nonzero(styles == style).flatten()
        partners[members] = members.roll(-1)
    return partners
