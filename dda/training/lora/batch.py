"""Batches of LoRA training: augmented seed pairs, bare or made up, with noise and timesteps."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch.nn import functional as F

from dda.faces.alignment import warp
from dda.images import resize, to_tensor
from dda.training.augmentation import ColorJitter, sample_similarities
from dda.training.seed_pairs import SeedPair

BARE_PROMPT_ID = 0
"""Index of the bare prompt; the prompt of style s has index s + 1."""

FIRST_STEP_PROBABILITY = 0.5
"""Probability that a row is the first step of a pass, where most of the way from source to target lies ahead."""

START_SPREAD = 0.15
"""Largest distance of a pass's first timestep from that of amplification, as a share of the noise schedule."""


@dataclass(frozen=True)
class Batch:
    """N rows to denoise: each a step of a pass that starts at a noised source and should end at an image.

    Attributes:
        images: where the pass should end: the target, or the bare source, (N, 3, S, S) in [0, 1].
        source_images: (N, 3, S, S) in [0, 1].
        masks: region masks (N, 4, S, S) in [0, 1].
        prompt_ids: index of each row's prompt, (N,) int64.
        noise: (N, 4, h, w).
        timesteps: of the step, (N,) int64.
        start_timesteps: of the first step of the pass, (N,) int64.
    """

    images: torch.Tensor
    source_images: torch.Tensor
    masks: torch.Tensor
    prompt_ids: torch.Tensor
    noise: torch.Tensor
    timesteps: torch.Tensor
    start_timesteps: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        return Batch(*(getattr(self, part.name).to(device) for part in fields(self)))


class BatchSampler:
    """Draws batches: half of the rows are targets with the prompt of their style, half are sources with the bare one.

    A target with a dropped condition becomes its source, so that the bare prompt does not learn makeup.

    Args:
        pairs: the seed pairs.
        size: S, side of the images in pixels.
        latent_size: h, side of their latents.
        num_train_timesteps: of the noise schedule.
        strength: where amplification starts, as a share of the schedule, in (0, 1].
        condition_dropout: share of targets whose condition is dropped, in [0, 1).
    """

    def __init__(
        self,
        pairs: Sequence[SeedPair],
        size: int,
        latent_size: int,
        num_train_timesteps: int,
        strength: float,
        condition_dropout: float,
    ) -> None:
        self._size = size
        self._margin = size // 4
        padded = [F.pad(stack_pair(pair, size)[None], (self._margin,) * 4, mode="reflect")[0] for pair in pairs]
        self._stacks = (torch.stack(padded) * 255).round().to(torch.uint8)
        self._styles = torch.tensor([pair.style for pair in pairs])
        self._latent_size = latent_size
        self._start_range = (
            int(max(strength - START_SPREAD, 0) * num_train_timesteps),
            round(min(strength + START_SPREAD, 1) * num_train_timesteps),
        )
        self._condition_dropout = condition_dropout

    def sample(
        self, count: int, generator: torch.Generator, rows: slice, device: torch.device, rows_before: int = 0
    ) -> Batch:
        """Draw a batch and return some of its rows.

        The whole batch is drawn whichever rows are wanted, so processes that share a batch draw the same one.

        Args:
            count: rows of the whole batch.
            generator: on the CPU.
            rows: the rows to return.
            device: where to return them.
            rows_before: rows of all earlier batches; made-up and bare rows alternate across batches, as a batch may
                have a single row.
        """
        chosen = torch.randint(len(self._stacks), (count,), generator=generator)
        is_kept = torch.rand(count, generator=generator) >= self._condition_dropout
        is_made_up = is_kept & ((torch.arange(count) + rows_before) % 2 == 0)
        matrices = sample_similarities(count, self._size, self._margin, generator)
        jitter = ColorJitter.sample(count, generator)
        noise = torch.randn(count, 4, self._latent_size, self._latent_size, generator=generator)
        starts = torch.randint(*self._start_range, (count,), generator=generator)
        is_first_step = torch.rand(count, generator=generator) < FIRST_STEP_PROBABILITY
        later = (torch.rand(count, generator=generator) * starts).long()
        timesteps = torch.where(is_first_step, starts, later)

        crops = warp(self._stacks[chosen[rows]].to(device).float() / 255, matrices[rows], self._size)
        shows_target = is_made_up[rows].to(device)[:, None, None, None]
        images = torch.where(shows_target, crops[:, 3:6], crops[:, :3])
        jitter = jitter.select(rows, device)
        prompt_ids = torch.where(is_made_up, self._styles[chosen] + 1, BARE_PROMPT_ID)
        return Batch(
            jitter.apply(images),
            jitter.apply(crops[:, :3]),
            crops[:, 6:],
            prompt_ids[rows].to(device),
            noise[rows].to(device),
            timesteps[rows].to(device),
            starts[rows].to(device),
        )


def stack_pair(pair: SeedPair, size: int) -> torch.Tensor:
    """Return source, target and masks of a pair, resized, (10, S, S) in [0, 1]."""
    images = [to_tensor(resize(image, (size, size))) for image in (pair.source, pair.target)]
    masks = F.interpolate(torch.from_numpy(pair.regions.masks)[None], size=(size, size), mode="area")[0]
    return torch.cat([*images, masks])
