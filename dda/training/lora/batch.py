"""Batches of LoRA training: seed pairs under other light and in other places, bare or made up, and noise for them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch.nn import functional as F

from dda.faces.alignment import warp
from dda.images import resize, to_tensor
from dda.training.augmentation import random_light, random_similarities, relight
from dda.training.seed_pairs import AlignedPair

BARE = 0
"""Place of the bare prompt; style s has place s + 1."""

FIRST_STEPS = 0.5
"""Share of rows that are the first step of a pass, which has most of the way from source to target before it."""

SPREAD = 0.15
"""Passes begin up to so far, as a share of the schedule, before and after where amplification begins."""


@dataclass(frozen=True)
class Batch:
    """N rows to denoise, each a step of a pass that begins at a noised source and shall end at a picture.

    ``pictures`` and ``sources`` (N, 3, S, S), ``masks`` (N, 4, S, S), all in [0, 1]; ``prompts`` (N,) int64; ``noise``
    (N, 4, h, w); ``timesteps`` of the step and ``starts``, those of the first step of its pass, (N,) int64.
    """

    pictures: torch.Tensor
    sources: torch.Tensor
    masks: torch.Tensor
    prompts: torch.Tensor
    noise: torch.Tensor
    timesteps: torch.Tensor
    starts: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same on a device."""
        return Batch(*(getattr(self, part.name).to(device) for part in fields(self)))


class BatchMaker:
    """Draws batches: half of the rows are targets under their style's prompt, half are sources under the bare one.

    A target whose condition is dropped becomes its source, so that the bare prompt never learns makeup.

    Args:
        pairs: the seed pairs.
        size: S, side of the pictures in pixels.
        latent_size: h, side of their latents.
        timesteps: levels of noise.
        strength: where amplification begins, as a share of them, in (0, 1].
        dropout: share of targets whose condition is dropped, in [0, 1).
    """

    def __init__(
        self,
        pairs: Sequence[AlignedPair],
        size: int,
        latent_size: int,
        timesteps: int,
        strength: float,
        dropout: float,
    ) -> None:
        self.size = size
        self.margin = size // 4
        padded = [F.pad(stack_pair(pair, size)[None], (self.margin,) * 4, mode="reflect")[0] for pair in pairs]
        self.stacks = (torch.stack(padded) * 255).round().to(torch.uint8)
        self.styles = torch.tensor([pair.style for pair in pairs])
        self.latent_size = latent_size
        self.starts = int(max(strength - SPREAD, 0) * timesteps), round(min(strength + SPREAD, 1) * timesteps)
        self.dropout = dropout

    def draw(self, count: int, generator: torch.Generator, rows: slice, device: torch.device, drawn: int = 0) -> Batch:
        """``rows`` of a batch of ``count``, on ``device``, after ``drawn`` rows of batches before.

        Made up and bare rows alternate from batch to batch too, since a batch may be one row. The whole batch is drawn
        wherever a part of it is wanted, so processes that share it draw alike.
        """
        chosen = torch.randint(len(self.stacks), (count,), generator=generator)
        kept = torch.rand(count, generator=generator) >= self.dropout
        styled = kept & ((torch.arange(count) + drawn) % 2 == 0)
        matrices = random_similarities(count, self.size, self.margin, generator)
        light = random_light(count, generator)
        noise = torch.randn(count, 4, self.latent_size, self.latent_size, generator=generator)
        starts = torch.randint(*self.starts, (count,), generator=generator)
        first = torch.rand(count, generator=generator) < FIRST_STEPS
        later = (torch.rand(count, generator=generator) * starts).long()
        timesteps = torch.where(first, starts, later)

        crops = warp(self.stacks[chosen[rows]].to(device).float() / 255, matrices[rows], self.size)
        made_up = styled[rows].to(device)
        pictures = torch.where(made_up[:, None, None, None], crops[:, 3:6], crops[:, :3])
        gamma, gain, saturation = (factor[rows].to(device) for factor in light)
        prompts = torch.where(styled, self.styles[chosen] + 1, BARE)
        return Batch(
            relight(pictures, (gamma, gain, saturation)),
            relight(crops[:, :3], (gamma, gain, saturation)),
            crops[:, 6:],
            prompts[rows].to(device),
            noise[rows].to(device),
            timesteps[rows].to(device),
            starts[rows].to(device),
        )


def stack_pair(pair: AlignedPair, size: int) -> torch.Tensor:
    """Source, target and masks of a pair as (10, S, S) in [0, 1]."""
    pictures = [to_tensor(resize(picture, (size, size))) for picture in (pair.source, pair.target)]
    masks = F.interpolate(torch.from_numpy(pair.regions.masks)[None], size=(size, size), mode="area")[0]
    return torch.cat([*pictures, masks])
