from pathlib import Path

import pytest
import torch

from dda.faces.parsing.mesh import MeshParser
from dda.training.compact.canonical_pair import CanonicalPair, crop_pair
from dda.training.seed_pairs import SeedPairFolder


@pytest.fixture(scope="session")
def pairs(pairs_root: Path, parser: MeshParser) -> list[CanonicalPair]:
    """Two pairs of one style."""
    return [crop_pair(pair) for pair in SeedPairFolder(pairs_root, parser)]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unpainted(pairs: list[CanonicalPair]) -> list[CanonicalPair]:
    """Return the pairs with the source as target: what is done to both alike leaves them equal."""
    return [CanonicalPair(p.source, p.source.clone(), p.masks, p.points, p.style) for p in pairs]
