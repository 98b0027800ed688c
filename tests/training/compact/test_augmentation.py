import torch

from dda.faces.alignment import CROP_SIZE
from dda.training.compact.augmentation import augment_pairs
from dda.training.compact.canonical_pair import PADDED_SIZE, CanonicalPair
from tests.training.compact.conftest import generator, unpainted


def test_a_batch_has_the_shapes_and_ranges_of_the_model(pairs: list[CanonicalPair]) -> None:
    batch = augment_pairs([*pairs, pairs[0]], generator())
    source, target, masks = batch.source, batch.target, batch.masks
    assert source.shape == target.shape == (3, 3, CROP_SIZE, CROP_SIZE) and masks.shape == (3, 4, CROP_SIZE, CROP_SIZE)
    for tensor in (source, target, masks):
        assert tensor.dtype == torch.float32 and float(tensor.min()) >= 0 and float(tensor.max()) <= 1
    assert float(masks.sum(1).max()) <= 1 + 4 / 255
    assert batch.styles.tolist() == [0, 0, 0]


def test_a_batch_follows_its_generator(pairs: list[CanonicalPair]) -> None:
    first, again, other = (augment_pairs(pairs, generator(seed)) for seed in (0, 0, 1))
    for name in ("source", "target", "masks", "styles"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert not torch.equal(first.source, other.source)


def test_each_pair_of_a_batch_is_augmented_differently(pairs: list[CanonicalPair]) -> None:
    source = augment_pairs([pairs[0]] * 4, generator()).source
    assert not any(torch.allclose(source[0], source[i], atol=0.02) for i in (1, 2, 3))


def test_source_and_target_are_augmented_alike(pairs: list[CanonicalPair]) -> None:
    """Source and target get the same geometry and the same color jitter."""
    for seed in range(3):
        batch = augment_pairs(unpainted(pairs), generator(seed))
        assert torch.equal(batch.source, batch.target)


def test_the_makeup_stays_under_its_mask(pairs: list[CanonicalPair]) -> None:
    for seed in range(3):
        batch = augment_pairs(pairs, generator(seed))
        change, lips = (batch.source - batch.target).abs().sum(1), batch.masks[:, 1]
        assert float(change[lips > 0.7].mean()) > 30 * float(change[lips == 0].mean())


def test_half_of_the_faces_are_flipped(pairs: list[CanonicalPair]) -> None:
    marked = torch.zeros(3, PADDED_SIZE, PADDED_SIZE, dtype=torch.uint8)
    marked[:, :, : PADDED_SIZE // 2] = 255  # the left half is white
    pair = CanonicalPair(marked, marked, pairs[0].masks, pairs[0].points, 0)
    source = augment_pairs([pair] * 64, generator()).source
    mirrored = source[..., : CROP_SIZE // 2].mean((1, 2, 3)) < source[..., CROP_SIZE // 2 :].mean((1, 2, 3))
    assert 16 < int(mirrored.sum()) < 48


def test_patches_are_mixed_within_a_style_and_in_half_of_the_faces(pairs: list[CanonicalPair]) -> None:
    """Each face has one color: mixed, it shows two."""
    faces = [
        CanonicalPair(torch.full_like(p.source, level), torch.full_like(p.target, level), p.masks, p.points, style)
        for p, level, style in zip(pairs * 16, (20, 220, 80, 140) * 8, (0, 0, 1, 1) * 8, strict=True)
    ]
    batch = augment_pairs(faces, generator(), mixed_styles=[0])
    source, target, styles = batch.source, batch.target, batch.styles
    middle = source[:, 0, 40:-40, 40:-40].flatten(1)  # no border of the picture
    shows_two = middle.max(1).values - middle.min(1).values > 0.1
    assert 3 < int(shows_two[styles == 0].sum()) < 13
    assert not shows_two[styles == 1].any()
    assert torch.equal(source, target)


def test_a_few_pictures_lose_their_color(pairs: list[CanonicalPair]) -> None:
    batch = augment_pairs([pairs[0]] * 120, generator())
    source, target, masks = batch.source, batch.target, batch.masks
    color = source.amax(1) - source.amin(1) - 0.2 * source.mean(1)  # beyond a cast of the light
    gray = (color < 0.02).flatten(1).all(1)
    assert 1 <= int(gray.sum()) <= 20
    painted_lips = (source - target).abs().sum(1)[gray][masks[gray, 1] > 0.7]
    assert float(painted_lips.mean()) > 0.05  # made up all the same
    change = (target - source)[gray].permute(0, 2, 3, 1)[masks[gray, 1] > 0.7]
    assert float((change.amax(1) - change.amin(1)).mean()) < 0.25 * float(change.abs().amax(1).mean())  # without color
