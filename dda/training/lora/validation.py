"""Watching a LoRA training: the noise it predicts, and what it paints, beside what the base model does."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from dda.models.stable_diffusion.pipeline import Sampling, StableDiffusionResidualPipeline
from dda.regions import REGIONS
from dda.training.lora.base_model import Base
from dda.training.lora.batch import BARE, Batch, stack_pair
from dda.training.lora.objective import noise_loss
from dda.training.seed_pairs import AlignedPair
from dda.training.validation import Validator, paint_pair

LEVELS = 4
"""Steps at which the loss is taken, evenly spread over the pass that amplification walks."""


@dataclass
class LoraValidator:
    """Measures LoRA matrices on pairs and shows what they paint.

    Attributes:
        watch: the pairs, and where the figures go.
        base: carries the matrices.
        styles: names of the trained styles.
        sampling: how a pass is walked.
        size: side in pixels of the pictures of which the noise is predicted.
    """

    watch: Validator
    base: Base
    styles: Sequence[str]
    sampling: Sampling
    size: int

    def look(self, update: int) -> dict[str, float]:
        """Log and return the losses on one held set of noise and the PSNR of what is painted; log a figure."""
        figures = self.losses() | {f"{name} of the base model": value for name, value in self.plain_losses.items()}
        self.watch.tracker.log(figures, step=update)
        amplifier = self._amplifier()
        pairs, seed = self.watch.pairs, self.watch.seed
        painted = [paint_pair(amplifier, pair, self.styles[pair.style], seed) for pair in pairs]
        return figures | self.watch.show(painted, update)

    @torch.no_grad()
    def losses(self) -> dict[str, float]:
        """Mean loss of targets under their styles' prompts, and of sources under the bare one."""
        device = self.base.unet.device
        made_up, bare = [], []
        for batch in held_batches(self.watch.pairs, self.size, self.base, self.sampling.strength, self.watch.seed):
            loss = noise_loss(self.base.unet, self.base, batch.to(device))
            made_up.append(loss[0::2])
            bare.append(loss[1::2])
        kind = self.watch.kind
        return {
            f"{kind} noise loss": float(torch.cat(made_up).mean()),
            f"{kind} noise loss, bare": float(torch.cat(bare).mean()),
        }

    @cached_property
    def plain_losses(self) -> dict[str, float]:
        """The same of the base model without LoRA."""
        self.base.unet.disable_adapters()
        try:
            return self.losses()
        finally:
            self.base.unet.enable_adapters()

    def _amplifier(self) -> StableDiffusionResidualPipeline:
        """The model as amplification uses it, on a copy of the U-Net, whose attention it rewires."""
        unet = copy.deepcopy(self.base.unet)
        model = replace(self.base.model, unet=unet)
        gains = torch.ones(len(REGIONS))
        return StableDiffusionResidualPipeline(
            model, self.base.conditions, self.sampling, gains, unet.device, unet.dtype
        )


def held_batches(pairs: Sequence[AlignedPair], size: int, base: Base, strength: float, seed: int) -> Iterator[Batch]:
    """For each pair a batch of ``LEVELS`` steps: to its target under its style, to its source under none, by turns.

    The noise is the same every time, and the pictures are as they are.
    """
    begin = strength * base.timesteps
    timesteps = ((torch.arange(LEVELS) + 0.5) / LEVELS * begin).long().repeat_interleave(2)
    generator = torch.Generator().manual_seed(seed)
    side = size // base.model.downsampling
    for pair in pairs:
        stack = stack_pair(pair, size)
        yield Batch(
            pictures=torch.stack([stack[3:6], stack[:3]] * LEVELS),
            sources=stack[None, :3].expand(2 * LEVELS, -1, -1, -1),
            masks=stack[None, 6:].expand(2 * LEVELS, -1, -1, -1),
            prompts=torch.tensor([pair.style + 1, BARE] * LEVELS),
            noise=torch.randn(2 * LEVELS, 4, side, side, generator=generator),
            timesteps=timesteps,
            starts=torch.full_like(timesteps, int(begin) - 1),
        )
