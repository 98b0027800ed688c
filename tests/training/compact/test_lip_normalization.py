"""Lip normalization of pairs with a known slope and known deviations."""

import numpy as np
import pytest
import torch

from dda.training.compact.canonical_pair import CanonicalPair
from dda.training.compact.lip_normalization import LIPS, LOG_OFFSET, fit_slope, normalize_lip_strength

SIZE = 24
MAX_FACES = 4
SLOPE = torch.tensor([[0.7, 0.2, 0.0], [-0.1, 0.8, 0.1], [0.0, 0.3, 0.6]], dtype=torch.float64)
OFFSET = -0.3


def log_color(levels: torch.Tensor) -> torch.Tensor:
    return torch.log(levels.double() / 255 + LOG_OFFSET)


def paint_lips(source: torch.Tensor) -> torch.Tensor:
    """Return A log s + b of a picture (3, H, W)."""
    return torch.einsum("ab,bhw->ahw", SLOPE, log_color(source)) + OFFSET


def face(index: int, deviation: torch.Tensor, style: int = 0) -> CanonicalPair:
    """Make a pair with textured lips in the upper half, around a mean color of the face, and skin below."""
    generator = torch.Generator().manual_seed(index)
    mean_color = 0.3 + 0.3 * torch.rand((3, 1, 1), generator=generator)
    source = ((mean_color + 0.25 * torch.rand((3, SIZE, SIZE), generator=generator)) * 255).to(torch.uint8)
    masks = torch.zeros(4, SIZE, SIZE, dtype=torch.uint8)
    masks[LIPS, : SIZE // 2] = 255
    painted = ((paint_lips(source) + deviation[:, None, None]).exp() - LOG_OFFSET).clamp(0, 1) * 255
    target = torch.where(masks[LIPS] > 0, painted.round().to(torch.uint8), source)
    return CanonicalPair(source, target, masks, np.zeros((468, 2)), style)


@pytest.fixture
def deviations() -> torch.Tensor:
    return torch.tensor([[0.2, 0.1, 0.1], [-0.1, 0.0, -0.2], [-0.1, -0.1, 0.1]])


def test_the_slope_does_not_depend_on_the_deviations(deviations: torch.Tensor) -> None:
    for added in (deviations, 0 * deviations):
        assert torch.allclose(fit_slope([face(i, d) for i, d in enumerate(added)]), SLOPE, atol=0.05)


def test_the_slope_of_unpainted_lips_is_1() -> None:
    bare = face(0, torch.zeros(3))
    unpainted = CanonicalPair(bare.source, bare.source, bare.masks, bare.points, 0)
    assert torch.equal(fit_slope([unpainted]), torch.eye(3).double())
    assert torch.equal(normalize_lip_strength([unpainted, unpainted], MAX_FACES)[1].target, unpainted.target)


def test_normalized_targets_follow_the_slope_without_deviations(deviations: torch.Tensor) -> None:
    pairs = [face(i, d) for i, d in enumerate(deviations)]
    for pair, normalized in zip(pairs, normalize_lip_strength(pairs, MAX_FACES), strict=True):
        lips = pair.masks[LIPS] > 0
        before, after = (
            float((log_color(p.target) - paint_lips(p.source))[:, lips].mean(1).abs().max()) for p in (pair, normalized)
        )
        assert after < 0.02 < 0.1 < before + 1e-3
        assert torch.equal(normalized.target[:, ~lips], pair.target[:, ~lips])
        assert torch.equal(normalized.source, pair.source)


def test_a_face_without_lips_is_neither_changed_nor_counted(deviations: torch.Tensor) -> None:
    visible = [face(i, d) for i, d in enumerate(deviations)]
    hidden = CanonicalPair(
        visible[0].source, visible[0].target, torch.zeros_like(visible[0].masks), visible[0].points, 0
    )
    first, *others = normalize_lip_strength([hidden, *visible], MAX_FACES)
    assert first is hidden
    assert all(
        torch.equal(a.target, b.target) for a, b in zip(others, normalize_lip_strength(visible, MAX_FACES), strict=True)
    )
    assert normalize_lip_strength([hidden], MAX_FACES)[0] is hidden


def test_a_single_face_of_a_style_is_not_changed(deviations: torch.Tensor) -> None:
    pair = face(0, deviations[0])
    assert normalize_lip_strength([pair], MAX_FACES)[0] is pair


def test_only_styles_of_few_faces_are_normalized_each_on_its_own(deviations: torch.Tensor) -> None:
    few = [face(i, d) for i, d in enumerate(deviations)]
    many = [face(i, deviations[i % 3], style=1) for i in range(MAX_FACES + 1)]
    after = normalize_lip_strength([*many, *few], MAX_FACES)
    assert all(new is old for new, old in zip(after, many, strict=False))
    assert all(
        torch.equal(a.target, b.target)
        for a, b in zip(after[len(many) :], normalize_lip_strength(few, MAX_FACES), strict=True)
    )
    assert all(new is old for new, old in zip(normalize_lip_strength(few, 0), few, strict=True))
