"""LoRA base model: a frozen Stable Diffusion with trainable low-rank matrices in the attention of its U-Net."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDPMScheduler
from diffusers.training_utils import cast_training_params, compute_snr
from peft import LoraConfig

from dda.errors import OptionError
from dda.models.stable_diffusion.precision import pick_vae_dtype
from dda.models.stable_diffusion.pretrained import StableDiffusionComponents, load_stable_diffusion
from dda.models.stable_diffusion.text_conditions import TextConditions

TARGET_MODULES = ("to_q", "to_k", "to_v", "to_out.0")
"""Names of the projections of an attention layer, all of which get LoRA matrices."""


@dataclass(frozen=True)
class LoraBaseModel:
    """A frozen latent diffusion model with LoRA matrices in its U-Net.

    Attributes:
        components: of the base model; only the LoRA matrices require a gradient, in float32.
        conditions: encodes prompts.
        prompt_embeds: the bare prompt, then the prompt of each style, (1 + styles, 77, D).
        noise_scheduler: the noise schedule that the model was trained on.
    """

    components: StableDiffusionComponents
    conditions: TextConditions
    prompt_embeds: torch.Tensor
    noise_scheduler: DDPMScheduler

    @property
    def unet(self) -> Any:
        """The UNet2DConditionModel."""
        return self.components.unet

    @property
    def num_train_timesteps(self) -> int:
        """Number of timesteps of the noise schedule."""
        return int(self.noise_scheduler.config.num_train_timesteps)

    @torch.no_grad()
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Encode images (N, 3, S, S) in [0, 1] to scaled latents (N, 4, h, w) float32."""
        vae = self.components.vae
        return vae.encode((2 * images - 1).to(vae.dtype)).latent_dist.mode().float() * vae.config.scaling_factor

    def prediction_target(self, latents: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor) -> torch.Tensor:
        """Return what the U-Net should predict of noisy latents: the noise, or the velocity (v-prediction models)."""
        return self.noise_scheduler.get_velocity(latents, noise, timesteps) if self._predicts_velocity else noise

    def snr_weight(self, timesteps: torch.Tensor, max_snr: float) -> torch.Tensor:
        """Return the Min-SNR weight of a squared prediction error, (N,).

        min(SNR, max_snr) / SNR for noise prediction, min(SNR, max_snr) / (SNR + 1) for v-prediction: the error of the
        clean latents then counts min(SNR, max_snr) (Hang et al., Efficient Diffusion Training via Min-SNR Weighting
        Strategy, ICCV 2023).
        """
        snr = compute_snr(self.noise_scheduler, timesteps)
        return snr.clamp(max=max_snr) / (snr + 1 if self._predicts_velocity else snr)

    @property
    def _predicts_velocity(self) -> bool:
        return self.noise_scheduler.config.prediction_type == "v_prediction"


def load_base_model(
    pretrained: str,
    prompt: str,
    bare_prompt: str,
    styles: Sequence[str],
    rank: int,
    device: torch.device,
    dtype: torch.dtype,
) -> LoraBaseModel:
    """Load Stable Diffusion, encode the prompts, and add LoRA matrices that do not change its output yet.

    Args:
        pretrained: hub id, or folder in the layout of diffusers.
        prompt: of a style, with ``{style}`` in place of its name.
        bare_prompt: of a bare face.
        styles: names of the styles.
        rank: of the LoRA matrices.
        device: where the networks run.
        dtype: of the frozen weights of the U-Net; the VAE's follows from it (`precision.pick_vae_dtype`).

    Raises:
        OptionError: the model cannot be loaded or predicts neither noise nor velocity, or a prompt is too long.
    """
    components = load_stable_diffusion(pretrained)
    noise_scheduler = DDPMScheduler.from_config(components.scheduler_config)
    prediction_type = noise_scheduler.config.prediction_type
    if prediction_type not in ("epsilon", "v_prediction"):
        raise OptionError(
            "pretrained", f"predicts {prediction_type}; training takes models of epsilon or v_prediction", pretrained
        )
    conditions = TextConditions(components.tokenizer, components.text_encoder, prompt, bare_prompt)
    prompt_embeds = torch.cat(
        [conditions.encode_bare_condition(), *(conditions.encode_style(style) for style in styles)]
    )
    components.vae.to(device, pick_vae_dtype(dtype, device))
    components.unet.to(device, dtype)
    # alpha / rank = 1 is the scale that readers of LoRA files assume if the file has no alpha.
    components.unet.add_adapter(
        LoraConfig(r=rank, lora_alpha=rank, init_lora_weights="gaussian", target_modules=list(TARGET_MODULES))
    )
    cast_training_params(components.unet, torch.float32)
    return LoraBaseModel(components, conditions, prompt_embeds.to(device), noise_scheduler)
