"""Batches of the compact model's training."""

import itertools
from collections import Counter

import torch

from dda.training.compact.augmentation import CanonicalBatch, augment_pairs
from dda.training.compact.canonical_pair import CanonicalPair, crop_pair
from dda.training.compact.lip_normalization import normalize_lip_strength
from dda.training.compact.morphing import morph_pairs
from dda.training.compact.options import CompactTrainerOptions
from dda.training.seed_pairs import SeedPair


class BatchSampler:
    """Draws augmented batches, half of them seed pairs and half morphs of two seed pairs.

    Args:
        pairs: the seed pairs.
        options: batch size, and what to do with styles of few faces.
        seed: of the morphs.
    """

    def __init__(self, pairs: list[SeedPair], options: CompactTrainerOptions, seed: int) -> None:
        self._batch_size = options.batch_size
        crops = [crop_pair(pair) for pair in pairs]
        self._pairs = normalize_lip_strength(crops, options.lip_normalization)
        self._morphs = morph_pairs(self._pairs, options.morphs, seed)
        counts = Counter(pair.style for pair in pairs)
        self._mixed_styles = [style for style, count in counts.items() if count <= options.patch_mix]

    def sample(self, updates_done: int, generator: torch.Generator) -> CanonicalBatch:
        """Draw the batch that follows ``updates_done`` batches; seed pairs and morphs alternate across batches too."""
        pools = itertools.cycle((self._pairs, self._morphs or self._pairs))
        first = updates_done * self._batch_size % 2
        chosen = [_choose(pool, generator) for pool in itertools.islice(pools, first, first + self._batch_size)]
        return augment_pairs(chosen, generator, self._mixed_styles)


def _choose(pool: list[CanonicalPair], generator: torch.Generator) -> CanonicalPair:
    return pool[int(torch.randint(len(pool), (), generator=generator))]
