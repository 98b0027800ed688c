import numpy as np
import torch

from dda.training.compact.canonical_pair import CanonicalPair
from dda.training.compact.morphing import morph, morph_pairs
from tests.training.compact.conftest import unpainted


def is_same(first: CanonicalPair, second: CanonicalPair) -> bool:
    tensors = [(first.source, second.source), (first.target, second.target), (first.masks, second.masks)]
    return all(torch.equal(*both) for both in tensors) and np.array_equal(first.points, second.points)


def test_a_morph_at_0_or_1_is_that_face(pairs: list[CanonicalPair]) -> None:
    first, second = pairs
    for position, face in ((0.0, first), (1.0, second)):
        ended = morph(first, second, shape=position, color=position)
        assert np.allclose(ended.points, face.points)
        assert float((ended.source.float() - face.source.float()).abs().mean()) < 2


def test_a_morph_has_the_shape_in_between(pairs: list[CanonicalPair]) -> None:
    first, second = pairs
    between = morph(first, second, shape=0.5, color=0.5)
    assert np.allclose(between.points, (first.points + second.points) / 2)
    assert between.source.dtype == between.masks.dtype == torch.uint8 and between.style == first.style
    lips = between.masks[1].numpy() > 127
    ys, xs = np.nonzero(lips)
    assert np.abs(np.array([xs.mean(), ys.mean()]) - between.points[[61, 291, 0, 17]].mean(0)).max() < 8


def test_makeup_moves_with_the_morph(pairs: list[CanonicalPair]) -> None:
    between = morph(*pairs, shape=0.3, color=0.6)
    change = (between.source.int() - between.target.int()).abs().sum(0).float()
    assert float(change[between.masks[1] > 180].mean()) > 30 * float(change[between.masks[1] == 0].mean())
    bare = morph(*unpainted(pairs), shape=0.3, color=0.6)
    assert torch.equal(bare.source, bare.target)


def test_morphs_follow_the_seed(pairs: list[CanonicalPair]) -> None:
    first, again, other = (morph_pairs(pairs, 2, seed) for seed in (0, 0, 1))
    assert len(first) == 2 and all(is_same(a, b) for a, b in zip(first, again, strict=True))
    assert not any(is_same(a, b) for a, b in zip(first, other, strict=True))


def test_morphs_are_of_two_faces_of_the_same_style(pairs: list[CanonicalPair]) -> None:
    alone = [CanonicalPair(p.source, p.target, p.masks, p.points, style) for style, p in enumerate(pairs)]
    assert morph_pairs(alone, 5, 0) == []
    both = [CanonicalPair(p.source, p.target, p.masks, p.points, 1) for p in pairs]
    assert {pair.style for pair in morph_pairs([alone[0], *both], 3, 0)} == {1}
