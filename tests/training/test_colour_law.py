"""Pairs whose law is known: the law is found, and each face's departure from it taken out."""

import numpy as np
import pytest
import torch

from dda.training.colour_law import FEW, LIPS, colour_laws, from_log_colour, levelled, log_colour, slope
from dda.training.seed_pairs import SeedPair

SIZE = 24
LAW = torch.tensor([[0.7, 0.2, 0.0], [-0.1, 0.8, 0.1], [0.0, 0.3, 0.6]])


def face(index: int, departure: torch.Tensor, style: int = 0) -> SeedPair:
    """Lips of many colours in the upper half, around a colour of the face's own; skin of other colours below."""
    generator = torch.Generator().manual_seed(index)
    own = 0.3 + 0.3 * torch.rand((3, 1, 1), generator=generator)
    source = (own + 0.25 * torch.rand((3, SIZE, SIZE), generator=generator)).clamp(0, 1)
    masks = torch.zeros(4, SIZE, SIZE)
    masks[LIPS, : SIZE // 2] = 1
    painted = torch.einsum("ab,bhw->ahw", LAW, log_colour(source)) - 0.3 + departure[:, None, None]
    target = torch.where(masks[LIPS] > 0, from_log_colour(painted), source)
    levels = [(part * 255).round().to(torch.uint8) for part in (source, target, masks)]
    return SeedPair(*levels, np.zeros((468, 2)), style)


@pytest.fixture
def departures() -> torch.Tensor:
    return torch.tensor([[0.2, 0.1, 0.1], [-0.1, 0.0, -0.2], [-0.1, -0.1, 0.1]])


def test_the_slope_is_found_whatever_the_departures(departures: torch.Tensor) -> None:
    found = slope([face(i, d) for i, d in enumerate(departures)])
    assert torch.allclose(found, LAW, atol=0.12)
    assert torch.allclose(found, slope([face(i, 0 * d) for i, d in enumerate(departures)]), atol=0.05)


def test_lips_left_alone_have_the_law_of_a_tint() -> None:
    bare = face(0, torch.zeros(3))
    assert torch.equal(slope([SeedPair(bare.source, bare.source, bare.masks, bare.points, 0)]), torch.eye(3))


def test_a_face_without_lips_is_no_obstacle(departures: torch.Tensor) -> None:
    with_lips = [face(i, d) for i, d in enumerate(departures)]
    hidden = SeedPair(with_lips[0].source, with_lips[0].target, torch.zeros_like(with_lips[0].masks), np.zeros(0), 0)
    assert torch.isfinite(slope([*with_lips, hidden])).all()
    assert torch.equal(levelled([hidden], {0: LAW})[0].target, hidden.target)


def test_levelled_faces_keep_the_law_without_departures(departures: torch.Tensor) -> None:
    pairs = [face(i, d) for i, d in enumerate(departures)]
    for pair, level in zip(pairs, levelled(pairs, {0: LAW}), strict=True):
        lips = pair.masks[LIPS] > 0
        source, target = (log_colour(levels.double() / 255) for levels in (pair.source, level.target))
        lawful = torch.einsum("ab,bhw->ahw", LAW.double(), source) - 0.3
        assert float((target - lawful)[:, lips].abs().mean()) < 0.02
        assert torch.equal(level.target[:, ~lips], pair.target[:, ~lips]) and torch.equal(level.source, pair.source)


def test_what_many_faces_tell_is_left_to_the_network(departures: torch.Tensor) -> None:
    few = [face(i, d) for i, d in enumerate(departures)]
    many = [face(i, departures[i % 3], style=1) for i in range(FEW + 1)]
    laws = colour_laws([*few, *many])
    assert list(laws) == [0]
    after = levelled([*many, *few], laws)
    assert all(a is b for a, b in zip(after, many, strict=False))
    assert not torch.equal(after[-1].target, few[-1].target)
