from dataclasses import replace
from pathlib import Path

import pytest

from dda.errors import OptionError
from dda.faces.parsing.mesh import MeshParser
from dda.training.seed_pairs import SeedPair, SeedPairFolder
from dda.training.training_data import TrainingData, match_styles


@pytest.fixture(scope="module")
def pairs(pairs_root: Path, parser: MeshParser) -> list[SeedPair]:
    """Two pairs, of styles 0 and 1."""
    return [replace(pair, style=style) for style, pair in enumerate(SeedPairFolder(pairs_root, parser))]


def test_held_out_styles_are_numbered_as_the_trained_ones(pairs: list[SeedPair]) -> None:
    matched = match_styles(["A", "B", "C"], ["C", "A"], pairs)
    assert [pair.style for pair in matched] == [2, 0]
    with pytest.raises(OptionError, match=r"holdout: its style D is not one of the styles of the seed pairs: A, B, C"):
        match_styles(["A", "B", "C"], ["D"], pairs)


def test_training_is_validated_on_held_out_pairs_or_else_on_the_seed_pairs(pairs: list[SeedPair]) -> None:
    alone, both = TrainingData(["A"], pairs[:1]), TrainingData(["A"], pairs[:1], pairs[1:])
    assert (alone.validation_split, alone.validation_pairs) == ("seed", pairs[:1])
    assert (both.validation_split, both.validation_pairs) == ("held-out", pairs[1:])
    assert alone.content_hashes == both.content_hashes == [pairs[0].content_hash]
