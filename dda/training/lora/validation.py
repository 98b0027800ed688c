"""Validation of LoRA training: noise losses beside those of the base model, and the targets it paints."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from dda.models.stable_diffusion.pipeline import Sampling, StableDiffusionResidualPipeline
from dda.regions import REGIONS
from dda.training.lora.base_model import LoraBaseModel
from dda.training.lora.batch import BARE_PROMPT_ID, Batch, stack_pair
from dda.training.lora.objective import noise_loss
from dda.training.seed_pairs import SeedPair
from dda.training.validation import Validation, Validator

VALIDATION_TIMESTEPS = 4
"""Number of timesteps that losses are measured at, evenly spaced over the pass of amplification."""


@dataclass
class LoraValidator:
    """Measures LoRA matrices on pairs.

    Attributes:
        validator: the pairs, and how their targets are measured.
        base: the model with the matrices.
        sampling: of a pass.
        size: side in pixels of the images that losses are measured on.
    """

    validator: Validator
    base: LoraBaseModel
    sampling: Sampling
    size: int

    def validate(self) -> Validation:
        """Measure the losses with and without LoRA, and the targets that the model paints."""
        losses = self.measure_losses() | {f"{name} of the base model": loss for name, loss in self.base_losses.items()}
        validation = self.validator.validate(self._open_pipeline())
        return Validation({**losses, **validation.metrics}, validation.rows)

    @torch.no_grad()
    def measure_losses(self) -> dict[str, float]:
        """Return the mean loss of targets with the prompts of their styles, and of sources with the bare prompt."""
        device = self.base.unet.device
        made_up_losses, bare_losses = [], []
        pairs, seed = self.validator.pairs, self.validator.seed
        for batch in make_validation_batches(pairs, self.size, self.base, self.sampling.strength, seed):
            loss = noise_loss(self.base.unet, self.base, batch.to(device))
            made_up_losses.append(loss[0::2])
            bare_losses.append(loss[1::2])
        split = self.validator.split
        return {
            f"{split} noise loss": float(torch.cat(made_up_losses).mean()),
            f"{split} noise loss, bare": float(torch.cat(bare_losses).mean()),
        }

    @cached_property
    def base_losses(self) -> dict[str, float]:
        """Losses of the base model without LoRA, measured once."""
        self.base.unet.disable_adapters()
        try:
            return self.measure_losses()
        finally:
            self.base.unet.enable_adapters()

    def _open_pipeline(self) -> StableDiffusionResidualPipeline:
        """Open the pipeline of amplification on a copy of the U-Net, since it replaces the attention processors."""
        unet = copy.deepcopy(self.base.unet)
        components = replace(self.base.components, unet=unet)
        gains = torch.ones(len(REGIONS))
        return StableDiffusionResidualPipeline(
            components, self.base.conditions, self.sampling, gains, unet.device, unet.dtype
        )


def make_validation_batches(
    pairs: Sequence[SeedPair], size: int, base: LoraBaseModel, strength: float, seed: int
) -> Iterator[Batch]:
    """Make a batch of each pair, without augmentation and with the same noise every time.

    At each of `VALIDATION_TIMESTEPS` timesteps a row leads to the target with the style's prompt, then one to the
    source with the bare prompt.

    Args:
        pairs: the pairs.
        size: side of the images in pixels.
        base: the base model.
        strength: where amplification starts, as a share of the noise schedule.
        seed: of the noise.
    """
    start = strength * base.num_train_timesteps
    shares = (torch.arange(VALIDATION_TIMESTEPS) + 0.5) / VALIDATION_TIMESTEPS
    timesteps = (shares * start).long().repeat_interleave(2)
    count = len(timesteps)
    generator = torch.Generator().manual_seed(seed)
    latent_size = size // base.components.vae_scale_factor
    for pair in pairs:
        stack = stack_pair(pair, size)
        yield Batch(
            images=torch.stack([stack[3:6], stack[:3]] * VALIDATION_TIMESTEPS),
            source_images=stack[None, :3].expand(count, -1, -1, -1),
            masks=stack[None, 6:].expand(count, -1, -1, -1),
            prompt_ids=torch.tensor([pair.style + 1, BARE_PROMPT_ID] * VALIDATION_TIMESTEPS),
            noise=torch.randn(count, 4, latent_size, latent_size, generator=generator),
            timesteps=timesteps,
            start_timesteps=torch.full_like(timesteps, int(start) - 1),
        )
