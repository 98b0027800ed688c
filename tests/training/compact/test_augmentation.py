from pathlib import Path

import numpy as np
import pytest
import torch

from dda.faces.alignment import CROP_SIZE
from dda.faces.parsing.mesh import MeshParser
from dda.training.augmentation import relight
from dda.training.compact.augmentation import augmented_batch, collage, morph, morph_pairs
from dda.training.seed_pairs import PADDED_SIZE, SeedPair, cut_pair, load_pairs


@pytest.fixture(scope="module")
def pairs(pairs_root: Path, parser: MeshParser) -> list[SeedPair]:
    return [cut_pair(pair) for pair in load_pairs(pairs_root, parser)[1]]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same(first: SeedPair, second: SeedPair) -> bool:
    tensors = [(first.source, second.source), (first.target, second.target), (first.masks, second.masks)]
    return all(torch.equal(*both) for both in tensors) and np.array_equal(first.points, second.points)


def painted(pairs: list[SeedPair]) -> list[SeedPair]:
    """The pairs with the target equal to the source: whatever is done to both must leave them equal."""
    return [SeedPair(p.source, p.source.clone(), p.masks, p.points, p.style) for p in pairs]


# --- Morphs ---------------------------------------------------------------------------------------------


def test_a_morph_at_either_end_is_that_face(pairs: list[SeedPair]) -> None:
    first, second = pairs
    for position, face in ((0.0, first), (1.0, second)):
        ended = morph(first, second, shape=position, color=position)
        assert np.allclose(ended.points, face.points)
        assert float((ended.source.float() - face.source.float()).abs().mean()) < 2


def test_a_morph_has_the_shape_in_between(pairs: list[SeedPair]) -> None:
    first, second = pairs
    between = morph(first, second, shape=0.5, color=0.5)
    assert np.allclose(between.points, (first.points + second.points) / 2)
    assert between.source.dtype == between.masks.dtype == torch.uint8 and between.style == first.style
    lips = between.masks[1].numpy() > 127
    ys, xs = np.nonzero(lips)
    assert np.abs(np.array([xs.mean(), ys.mean()]) - between.points[[61, 291, 0, 17]].mean(0)).max() < 8


def test_a_morph_carries_the_makeup_along(pairs: list[SeedPair]) -> None:
    between = morph(*pairs, shape=0.3, color=0.6)
    change = (between.source.int() - between.target.int()).abs().sum(0).float()
    assert float(change[between.masks[1] > 180].mean()) > 30 * float(change[between.masks[1] == 0].mean())
    unpainted = morph(*painted(pairs), shape=0.3, color=0.6)
    assert torch.equal(unpainted.source, unpainted.target)


def test_morphs_follow_the_seed(pairs: list[SeedPair]) -> None:
    first, again, other = (morph_pairs(pairs, 2, seed) for seed in (0, 0, 1))
    assert len(first) == 2 and all(same(a, b) for a, b in zip(first, again, strict=True))
    assert not any(same(a, b) for a, b in zip(first, other, strict=True))


def test_styles_are_not_mixed_and_a_lone_face_has_no_morphs(pairs: list[SeedPair]) -> None:
    alone = [SeedPair(p.source, p.target, p.masks, p.points, style) for style, p in enumerate(pairs)]
    assert morph_pairs(alone, 5, 0) == []
    both = [SeedPair(p.source, p.target, p.masks, p.points, 1) for p in pairs]
    assert {pair.style for pair in morph_pairs([alone[0], *both], 3, 0)} == {1}


# --- Batches --------------------------------------------------------------------------------------------


def test_a_batch_has_the_shapes_and_ranges_of_the_model(pairs: list[SeedPair]) -> None:
    source, target, masks, styles = augmented_batch([*pairs, pairs[0]], generator())
    assert source.shape == target.shape == (3, 3, CROP_SIZE, CROP_SIZE) and masks.shape == (3, 4, CROP_SIZE, CROP_SIZE)
    for tensor in (source, target, masks):
        assert tensor.dtype == torch.float32 and float(tensor.min()) >= 0 and float(tensor.max()) <= 1
    assert float(masks.sum(1).max()) <= 1 + 4 / 255
    assert styles.tolist() == [0, 0, 0]


def test_a_batch_follows_its_generator(pairs: list[SeedPair]) -> None:
    first, again, other = (augmented_batch(pairs, generator(seed)) for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_each_pair_of_a_batch_is_treated_differently(pairs: list[SeedPair]) -> None:
    source, *_ = augmented_batch([pairs[0]] * 4, generator())
    assert not any(torch.allclose(source[0], source[i], atol=0.02) for i in (1, 2, 3))


def test_a_pair_stays_a_pair(pairs: list[SeedPair]) -> None:
    """Source and target get the same geometry and the same light."""
    for seed in range(3):
        source, target, _, _ = augmented_batch(painted(pairs), generator(seed))
        assert torch.equal(source, target)


def test_the_makeup_stays_under_its_mask(pairs: list[SeedPair]) -> None:
    for seed in range(3):
        source, target, masks, _ = augmented_batch(pairs, generator(seed))
        change = (source - target).abs().sum(1)
        assert float(change[masks[:, 1] > 0.7].mean()) > 30 * float(change[masks[:, 1] == 0].mean())


def test_half_of_the_faces_look_the_other_way(pairs: list[SeedPair]) -> None:
    marked = torch.zeros(3, PADDED_SIZE, PADDED_SIZE, dtype=torch.uint8)
    marked[:, :, : PADDED_SIZE // 2] = 255  # the left half is white
    pair = SeedPair(marked, marked, pairs[0].masks, pairs[0].points, 0)
    source, *_ = augmented_batch([pair] * 64, generator())
    mirrored = source[..., : CROP_SIZE // 2].mean((1, 2, 3)) < source[..., CROP_SIZE // 2 :].mean((1, 2, 3))
    assert 16 < int(mirrored.sum()) < 48


# --- Collages -------------------------------------------------------------------------------------------


def plain(levels: list[float]) -> torch.Tensor:
    return torch.tensor(levels)[:, None, None, None].expand(-1, 10, CROP_SIZE, CROP_SIZE)


def test_a_collage_shows_two_faces_and_little_between() -> None:
    laid = collage(plain([0.0, 1.0] * 8), torch.arange(16).roll(1), generator())
    assert float((laid < 0.1).float().mean()) > 0.35 and float((laid > 0.9).float().mean()) > 0.35
    assert float((laid[..., 1:] - laid[..., :-1]).abs().max()) < 0.5  # no hard edges
    assert torch.equal(laid, laid[:, :1].expand_as(laid))  # source, target and masks alike


def test_a_collage_keeps_to_its_style_and_leaves_some_faces_whole(pairs: list[SeedPair]) -> None:
    """Faces, each of one color all over: of the style that is laid together some show two, of the other none do."""
    faces = [
        SeedPair(torch.full_like(p.source, level), torch.full_like(p.target, level), p.masks, p.points, style)
        for p, level, style in zip(pairs * 16, (20, 220, 80, 140) * 8, (0, 0, 1, 1) * 8, strict=True)
    ]
    source, target, _, styles = augmented_batch(faces, generator(), laid=[0])
    middle = source[:, 0, 40:-40, 40:-40].flatten(1)  # no border of the picture
    shows_two = middle.max(1).values - middle.min(1).values > 0.1
    assert 3 < int(shows_two[styles == 0].sum()) < 13
    assert not shows_two[styles == 1].any()
    assert torch.equal(source, target)


def test_a_collage_is_laid_anew_each_time() -> None:
    crops, partners, random = plain([0.0, 1.0] * 4), torch.arange(8).roll(1), generator()
    first, second = (collage(crops, partners, random) for _ in range(2))
    assert not torch.allclose(first, second, atol=0.1)
    assert torch.equal(first, collage(crops, partners, generator()))


# --- Light ----------------------------------------------------------------------------------------------


def light(
    gamma: float = 1.0, gain: float = 1.0, saturation: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return tuple(torch.full((1, 1, 1, 1), value) for value in (gamma, gain, saturation))  # type: ignore[return-value]


@pytest.fixture
def picture() -> torch.Tensor:
    return torch.rand(1, 3, 8, 8, generator=generator()) * 0.4 + 0.1


def test_the_light_that_is_there_changes_nothing(picture: torch.Tensor) -> None:
    assert torch.allclose(relight(picture, light()), picture, atol=1e-6)


def test_light_is_gain_times_a_power_and_saturation(picture: torch.Tensor) -> None:
    lit = relight(picture, light(gamma=1.2, gain=0.9, saturation=0.8))
    expected = picture**1.2
    gray = expected.mean(1, keepdim=True)
    assert torch.allclose(lit, 0.9 * (gray + 0.8 * (expected - gray)), atol=1e-6)
    assert torch.allclose(
        relight(picture, light(saturation=0)), picture.mean(1, keepdim=True).expand(-1, 3, -1, -1), atol=1e-6
    )


def test_a_few_pictures_lose_their_color(pairs: list[SeedPair]) -> None:
    source, target, masks, _ = augmented_batch([pairs[0]] * 120, generator())
    color = source.amax(1) - source.amin(1) - 0.2 * source.mean(1)  # beyond a cast of the light
    gray = (color < 0.02).flatten(1).all(1)
    assert 1 <= int(gray.sum()) <= 20
    painted_lips = (source - target).abs().sum(1)[gray][masks[gray, 1] > 0.7]
    assert float(painted_lips.mean()) > 0.05  # made up all the same
    change = (target - source)[gray].permute(0, 2, 3, 1)[masks[gray, 1] > 0.7]
    assert float((change.amax(1) - change.amin(1)).mean()) < 0.25 * float(change.abs().amax(1).mean())  # without color


def test_a_cast_is_laid_over_what_has_no_color(picture: torch.Tensor) -> None:
    gain = torch.tensor([1.1, 1.0, 0.9]).reshape(1, 3, 1, 1)
    gamma, _, saturation = light(saturation=0)
    lit = relight(picture, (gamma, gain, saturation))
    assert torch.allclose(lit, gain * picture.mean(1, keepdim=True), atol=1e-6)


def test_too_much_light_is_white(picture: torch.Tensor) -> None:
    assert torch.equal(relight(picture, light(gain=100)), torch.ones_like(picture))
