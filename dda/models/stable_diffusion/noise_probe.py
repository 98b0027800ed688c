"""Whether a U-Net is a diffusion model: it must tell the noise from what it lies on."""

import torch
from diffusers import UNet2DConditionModel

LEVELS = (0.95, 0.75, 0.5)
"""Shares of the schedule at which the U-Net is asked, from nearly pure noise to half of it."""

SIDE = 32
"""Side of the probe's latents: a quarter of a 512-pixel picture's cost, large enough for every level of the U-Net."""

MIN_SKILL = 0.1
"""Below it a U-Net is no diffusion model. Measured on a tiny U-Net: after 60 updates to predict noise
0.82, after 150 of a wider one 0.92; with random weights -0.13 and -0.08; trained on for 20 updates to paint latents
out of noise, as the seed's own training does, -0.04."""


@torch.no_grad()
def noise_skill(unet: UNet2DConditionModel, alphas_cumprod: torch.Tensor, tokens: torch.Tensor) -> float:
    """The share of the noise's energy that the U-Net predicts, 1 - |eps_hat - eps|^2 / |eps|^2, over `LEVELS`.

    1 is all of it; 0 is chance, what predicting nothing gets; a U-Net that predicts something else is below 0. The
    noise lies on a flat gray latent (zeros), z_t = sqrt(1 - abar_t) eps, so that neither a picture nor a VAE is needed.

    Args:
        unet: an epsilon-predicting U-Net.
        alphas_cumprod: abar_t of the schedule it was trained with, (T,).
        tokens: a condition it was trained with, (1, L, cross_attention_dim).
    """
    steps = torch.tensor([int(level * (len(alphas_cumprod) - 1)) for level in LEVELS])
    shape = (len(LEVELS), unet.config.in_channels, SIDE, SIDE)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(unet.device)
    deviation = (1 - alphas_cumprod.cpu()[steps]).sqrt().to(unet.device)[:, None, None, None]
    condition = tokens.to(unet.device, unet.dtype).expand(len(LEVELS), -1, -1)
    predicted = unet((deviation * noise).to(unet.dtype), steps.to(unet.device), condition).sample.float()
    return 1 - float((predicted - noise).square().mean() / noise.square().mean())


def noise_warning(unet: UNet2DConditionModel, alphas_cumprod: torch.Tensor, tokens: torch.Tensor) -> str | None:
    """What to tell the user of a U-Net that predicts noise no better than chance; None for a diffusion model.

    Args:
        unet, alphas_cumprod, tokens: as in :func:`noise_skill`.
    """
    skill = noise_skill(unet, alphas_cumprod, tokens)
    if skill >= MIN_SKILL:
        return None
    return (
        f"the U-Net predicts {skill:.0%} of the noise (a diffusion model: nearly all; chance: 0 %): it is no diffusion "
        "model any more, what it paints is arbitrary; check model.checkpoint and model.pretrained"
    )
