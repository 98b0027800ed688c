"""Pairs whose law is known: its slope is found, and each face's departure from it taken out."""

import numpy as np
import pytest
import torch

from dda.training.compact.lip_normalization import BLACK, LIPS, fit_slope, normalize_lip_strength
from dda.training.seed_pairs import SeedPair

SIZE = 24
FEW = 4
LAW = torch.tensor([[0.7, 0.2, 0.0], [-0.1, 0.8, 0.1], [0.0, 0.3, 0.6]], dtype=torch.float64)
OFFSET = -0.3


def log_color(levels: torch.Tensor) -> torch.Tensor:
    return torch.log(levels.double() / 255 + BLACK)


def lawful(source: torch.Tensor) -> torch.Tensor:
    """What the law makes of a picture (3, H, W), in logarithmic color."""
    return torch.einsum("ab,bhw->ahw", LAW, log_color(source)) + OFFSET


def face(index: int, departure: torch.Tensor, style: int = 0) -> SeedPair:
    """Lips of many colors in the upper half, around a color of the face's own; skin of other colors below."""
    generator = torch.Generator().manual_seed(index)
    own = 0.3 + 0.3 * torch.rand((3, 1, 1), generator=generator)
    source = ((own + 0.25 * torch.rand((3, SIZE, SIZE), generator=generator)) * 255).to(torch.uint8)
    masks = torch.zeros(4, SIZE, SIZE, dtype=torch.uint8)
    masks[LIPS, : SIZE // 2] = 255
    painted = ((lawful(source) + departure[:, None, None]).exp() - BLACK).clamp(0, 1) * 255
    target = torch.where(masks[LIPS] > 0, painted.round().to(torch.uint8), source)
    return SeedPair(source, target, masks, np.zeros((468, 2)), style)


@pytest.fixture
def departures() -> torch.Tensor:
    return torch.tensor([[0.2, 0.1, 0.1], [-0.1, 0.0, -0.2], [-0.1, -0.1, 0.1]])


def test_the_slope_is_found_whatever_the_departures(departures: torch.Tensor) -> None:
    for uneven in (departures, 0 * departures):
        assert torch.allclose(fit_slope([face(i, d) for i, d in enumerate(uneven)]), LAW, atol=0.05)


def test_lips_left_alone_have_the_slope_of_a_tint() -> None:
    bare = face(0, torch.zeros(3))
    unpainted = SeedPair(bare.source, bare.source, bare.masks, bare.points, 0)
    assert torch.equal(fit_slope([unpainted]), torch.eye(3).double())
    assert torch.equal(normalize_lip_strength([unpainted, unpainted], FEW)[1].target, unpainted.target)


def test_levelled_faces_keep_the_law_without_departures(departures: torch.Tensor) -> None:
    pairs = [face(i, d) for i, d in enumerate(departures)]
    for pair, level in zip(pairs, normalize_lip_strength(pairs, FEW), strict=True):
        lips = pair.masks[LIPS] > 0
        before, after = (
            float((log_color(p.target) - lawful(p.source))[:, lips].mean(1).abs().max()) for p in (pair, level)
        )
        assert after < 0.02 < 0.1 < before + 1e-3
        assert torch.equal(level.target[:, ~lips], pair.target[:, ~lips]) and torch.equal(level.source, pair.source)


def test_a_face_without_lips_is_left_as_it_is_and_counts_for_nothing(departures: torch.Tensor) -> None:
    seen = [face(i, d) for i, d in enumerate(departures)]
    hidden = SeedPair(seen[0].source, seen[0].target, torch.zeros_like(seen[0].masks), seen[0].points, 0)
    first, *others = normalize_lip_strength([hidden, *seen], FEW)
    assert first is hidden
    assert all(torch.equal(a.target, b.target) for a, b in zip(others, normalize_lip_strength(seen, FEW), strict=True))
    assert normalize_lip_strength([hidden], FEW)[0] is hidden


def test_a_lone_face_is_its_own_level(departures: torch.Tensor) -> None:
    pair = face(0, departures[0])
    assert normalize_lip_strength([pair], FEW)[0] is pair


def test_what_many_faces_tell_is_left_to_the_network(departures: torch.Tensor) -> None:
    """... and one style's faces say nothing about another's."""
    few = [face(i, d) for i, d in enumerate(departures)]
    many = [face(i, departures[i % 3], style=1) for i in range(FEW + 1)]
    after = normalize_lip_strength([*many, *few], FEW)
    assert all(level is pair for level, pair in zip(after, many, strict=False))
    assert all(
        torch.equal(a.target, b.target)
        for a, b in zip(after[len(many) :], normalize_lip_strength(few, FEW), strict=True)
    )
    assert all(level is pair for level, pair in zip(normalize_lip_strength(few, 0), few, strict=True))
