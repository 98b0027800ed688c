"""What LoRA adapts: a frozen Stable Diffusion with fresh LoRA matrices in the attention of its U-Net."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import cast_training_params, compute_snr
from peft import LoraConfig

from dda.errors import UserError
from dda.models.stable_diffusion.precision import vae_dtype
from dda.models.stable_diffusion.pretrained import StableDiffusion, load_stable_diffusion
from dda.models.stable_diffusion.text_conditions import TextConditions

TARGETS = ("to_q", "to_k", "to_v", "to_out.0")
"""The projections of every attention layer, by name."""


@dataclass(frozen=True)
class Base:
    """A frozen latent diffusion model whose U-Net carries LoRA matrices to train.

    Attributes:
        model: its components; of all their weights only the LoRA matrices are trained, in float32.
        conditions: prompts as tokens.
        tokens: those of the prompts of the training (P, 77, D): the bare one first, then a style each.
        schedule: of the noise, as the model was trained.
    """

    model: StableDiffusion
    conditions: TextConditions
    tokens: torch.Tensor
    schedule: DDPMScheduler

    @property
    def unet(self) -> Any:
        """The UNet2DConditionModel."""
        return self.model.unet

    @property
    def timesteps(self) -> int:
        """How many levels of noise there are."""
        return int(self.schedule.config.num_train_timesteps)

    @torch.no_grad()
    def encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """Scaled latents (N, 4, h, w) float32 of pictures (N, 3, S, S) in [0, 1]."""
        vae = self.model.vae
        return vae.encode((2 * pictures - 1).to(vae.dtype)).latent_dist.mode().float() * vae.config.scaling_factor

    def wanted(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """What the U-Net shall predict of noised latents: the noise, or the velocity where the model was so trained."""
        return self.schedule.get_velocity(latents, noise, timesteps) if self._predicts_velocity else noise

    def weight(self, timesteps: torch.Tensor, max_snr: float) -> torch.Tensor:
        """What a squared error of the prediction counts at ``timesteps`` (N,): min(SNR, max_snr) of the latents."""
        snr = compute_snr(self.schedule, timesteps)
        return snr.clamp(max=max_snr) / (snr + 1 if self._predicts_velocity else snr)

    @property
    def _predicts_velocity(self) -> bool:
        return self.schedule.config.prediction_type == "v_prediction"


def load_base(
    pretrained: str,
    prompt: str,
    bare_prompt: str,
    styles: Sequence[str],
    rank: int,
    device: torch.device,
    dtype: torch.dtype,
) -> Base:
    """Load Stable Diffusion, read the prompts, and add LoRA matrices that change nothing yet.

    Args:
        pretrained: hub id, or folder in diffusers' form.
        prompt: of a style, ``{style}`` where its name goes.
        bare_prompt: of a bare face.
        styles: their names.
        rank: of the LoRA matrices.
        device: where the networks go.
        dtype: of the U-Net's frozen weights; the VAE's follows from it (`precision.vae_dtype`).

    Raises:
        UserError: the model cannot be loaded or predicts neither noise nor velocity, or a prompt is too long.
    """
    model = load_stable_diffusion(pretrained)
    schedule = DDPMScheduler.from_config(model.scheduler)
    predicts = schedule.config.prediction_type
    if predicts not in ("epsilon", "v_prediction"):
        raise UserError(
            f"model.pretrained={pretrained}: predicts {predicts}; training takes models of epsilon or v_prediction"
        )
    conditions = TextConditions(model.tokenizer, model.text_encoder, prompt, bare_prompt)
    tokens = torch.cat([conditions.bare(), *(conditions.tokens(style) for style in styles)])
    model.vae.to(device, vae_dtype(dtype, device))
    model.unet.to(device, dtype)
    # alpha / rank = 1: the scale that readers of LoRA files take where the file says nothing.
    model.unet.add_adapter(
        LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=list(TARGETS))
    )
    cast_training_params(model.unet, torch.float32)
    return Base(model, conditions, tokens.to(device), schedule)
