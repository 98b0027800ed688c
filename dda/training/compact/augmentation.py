"""Augmentation of canonical pairs: geometry, color jitter and patch mix."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

import torch

from dda.faces.alignment import CROP_SIZE, warp
from dda.training.augmentation import ColorJitter, sample_similarities
from dda.training.compact.canonical_pair import MARGIN_PX, CanonicalPair
from dda.training.compact.patch_mix import mix_patches, pair_within_styles

GRAYSCALE_PROBABILITY = 0.06
"""Probability that a pair loses its color: makeup on a grayscale photo has to be gray."""


@dataclass(frozen=True)
class CanonicalBatch:
    """N augmented pairs.

    Attributes:
        source, target: (N, 3, S, S) in [0, 1].
        masks: region masks (N, 4, S, S) in [0, 1].
        styles: (N,) int64.
    """

    source: torch.Tensor
    target: torch.Tensor
    masks: torch.Tensor
    styles: torch.Tensor

    def to(self, device: torch.device) -> Self:
        """Return the batch on a device."""
        return type(self)(*(part.to(device) for part in (self.source, self.target, self.masks, self.styles)))


def augment_pairs(
    pairs: list[CanonicalPair], generator: torch.Generator, mixed_styles: Collection[int] = ()
) -> CanonicalBatch:
    """Augment pairs to a batch: a similarity transform and a color jitter for each, then patch mix.

    Args:
        pairs: the pairs.
        generator: on the CPU.
        mixed_styles: styles to apply patch mix to.
    """
    stacks = torch.stack([torch.cat([pair.source, pair.target, pair.masks]) for pair in pairs]).float() / 255
    crops = warp(stacks, sample_similarities(len(pairs), CROP_SIZE, MARGIN_PX, generator), CROP_SIZE)
    jitter = ColorJitter.sample(len(pairs), generator, GRAYSCALE_PROBABILITY)
    source, target = jitter.apply(crops[:, :3]), jitter.apply(crops[:, 3:6])
    styles = torch.tensor([pair.style for pair in pairs])
    partners = pair_within_styles(styles, mixed_styles)
    crops = mix_patches(torch.cat([source, target, crops[:, 6:]], 1), partners, generator)
    return CanonicalBatch(crops[:, :3], crops[:, 3:6], crops[:, 6:], styles)
