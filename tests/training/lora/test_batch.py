import numpy as np
import pytest
import torch

from dda.faces.preparation import PreparedFace
from dda.training.lora.batch import BARE_PROMPT_ID, BatchSampler, stack_pair
from dda.training.seed_pairs import SeedPair

CPU = torch.device("cpu")
ALL = slice(None)


@pytest.fixture(scope="module")
def pairs(portraits: list[PreparedFace]) -> list[SeedPair]:
    """Two pairs; the target of style 0 is black, that of style 1 white."""
    return [
        SeedPair(face.source, np.full_like(face.source, 255 * style), face.regions, style)
        for style, face in enumerate(portraits)
    ]


def make_sampler(pairs: list[SeedPair], dropout: float) -> BatchSampler:
    return BatchSampler(pairs, 64, 8, 1000, 0.3, dropout)


def is_flat(pictures: torch.Tensor) -> torch.Tensor:
    """Return whether a picture has one color: it is a target here."""
    return pictures.flatten(2).std(2).amax(1) < 0.01


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_made_up_and_bare_rows_alternate(pairs: list[SeedPair]) -> None:
    batch = make_sampler(pairs, 0.0).sample(32, generator(), ALL, CPU)
    assert (batch.prompt_ids[1::2] == BARE_PROMPT_ID).all() and set(batch.prompt_ids[0::2].tolist()) == {1, 2}
    flat = is_flat(batch.images)
    assert flat[0::2].all() and not flat[1::2].any()
    light = batch.images[0::2].mean((1, 2, 3)) > 0.5
    assert torch.equal(light, batch.prompt_ids[0::2] == 2)


def test_batches_of_one_row_alternate_too(pairs: list[SeedPair]) -> None:
    sampler, seeded = make_sampler(pairs, 0.0), generator()
    prompts = [sampler.sample(1, seeded, ALL, CPU, drawn).prompt_ids.item() for drawn in range(6)]
    assert [prompt == BARE_PROMPT_ID for prompt in prompts] == [False, True] * 3


def test_a_dropped_condition_makes_the_picture_bare_too(pairs: list[SeedPair]) -> None:
    batch = make_sampler(pairs, 0.3).sample(400, generator(), ALL, CPU)
    styled = batch.prompt_ids != BARE_PROMPT_ID
    assert 0.6 < styled[0::2].float().mean() < 0.8
    assert torch.equal(styled, is_flat(batch.images))


def test_a_bare_row_is_its_own_source(pairs: list[SeedPair]) -> None:
    batch = make_sampler(pairs, 0.3).sample(64, generator(), ALL, CPU)
    bare = batch.prompt_ids == BARE_PROMPT_ID
    assert torch.equal(batch.images[bare], batch.source_images[bare])
    assert not is_flat(batch.source_images).any()


def test_passes_start_near_the_timestep_of_amplification(pairs: list[SeedPair]) -> None:
    batch = make_sampler(pairs, 0.1).sample(400, generator(), ALL, CPU)
    assert 150 <= batch.start_timesteps.min() < 160 and 440 < batch.start_timesteps.max() < 450
    first = batch.start_timesteps == batch.timesteps
    assert 0.4 < first.float().mean() < 0.6
    assert (batch.timesteps <= batch.start_timesteps).all() and 0 <= batch.timesteps.min() < 20
    whole = BatchSampler(pairs, 64, 8, 1000, 1.0, 0.1).sample(400, generator(), ALL, CPU)
    assert whole.start_timesteps.min() >= 850 and 990 < whole.start_timesteps.max() < 1000


def test_processes_that_share_a_batch_draw_the_same_one(pairs: list[SeedPair]) -> None:
    sampler = make_sampler(pairs, 0.1)
    whole = sampler.sample(6, generator(), ALL, CPU)
    parts = [sampler.sample(6, generator(), rows, CPU) for rows in (slice(0, 3), slice(3, 6))]
    for name in ("images", "source_images", "masks", "prompt_ids", "noise", "timesteps", "start_timesteps"):
        joined = torch.cat([getattr(part, name) for part in parts])
        assert torch.allclose(joined, getattr(whole, name), atol=1e-6)


def test_shapes_and_ranges(pairs: list[SeedPair]) -> None:
    batch = make_sampler(pairs, 0.1).sample(40, generator(), ALL, CPU)
    assert batch.images.shape == (40, 3, 64, 64) and batch.masks.shape == (40, 4, 64, 64)
    assert batch.noise.shape == (40, 4, 8, 8)
    for part in (batch.images, batch.masks):
        assert part.min() >= 0 and part.max() <= 1
    assert batch.masks.sum(1).max() <= 1.02  # each is rounded to a 255th


def test_masks_move_with_the_picture(pairs: list[SeedPair]) -> None:
    """The target differs from the source under the masks, after rotation and shift too."""
    pair = pairs[0]
    painted = np.where(pair.regions.total_mask[..., None] > 0.5, 255, np.zeros(3)).astype(np.uint8)
    batch = BatchSampler([SeedPair(np.zeros_like(painted), painted, pair.regions, 0)], 64, 8, 1000, 0.3, 0.0).sample(
        16, generator(), ALL, CPU
    )
    shown = batch.images[0::2].mean(1)
    total = batch.masks[0::2].sum(1)
    assert (shown[total > 0.9] > 0.4).float().mean() > 0.99
    assert (shown[total < 0.1] < 0.2).float().mean() > 0.95


def test_a_stack_is_the_pair_at_another_size(pairs: list[SeedPair]) -> None:
    stack = stack_pair(pairs[1], 64)
    assert stack.shape == (10, 64, 64)
    small = pairs[1].source.reshape(64, 8, 64, 8, 3).mean((1, 3)).transpose(2, 0, 1) / 255
    assert np.abs(stack[:3].numpy() - small).mean() < 0.02
    assert (stack[3:6] == 1).all()
    assert torch.allclose(stack[6:].mean((1, 2)), torch.from_numpy(pairs[1].regions.masks).mean((1, 2)), atol=1e-4)
