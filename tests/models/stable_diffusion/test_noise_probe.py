import copy
from collections.abc import Callable

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch.nn import functional as F

from dda.models.stable_diffusion.noise_probe import MIN_EXPLAINED_NOISE, find_noise_problem, measure_explained_noise

SCHEDULER = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
ALPHAS_CUMPROD = SCHEDULER.alphas_cumprod
PROMPT_EMBEDS = torch.ones(1, 3, 16)


@pytest.fixture(scope="module")
def untrained() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=16, block_out_channels=(8, 16), down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), layers_per_block=1, cross_attention_dim=16,
        norm_num_groups=4, attention_head_dim=8,
    )  # fmt: skip


Loss = Callable[[UNet2DConditionModel, torch.Tensor], torch.Tensor]


def train(unet: UNet2DConditionModel, updates: int, loss: Loss) -> UNet2DConditionModel:
    """A copy of the U-Net after updates on smooth latents, (4, 4, 8, 8) each."""
    unet = copy.deepcopy(unet)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(1)
    for _ in range(updates):
        latents = F.interpolate(torch.randn(4, 4, 2, 2, generator=generator), size=8, mode="bilinear")
        optimizer.zero_grad()
        loss(unet, latents).backward()
        optimizer.step()
    return unet.eval()


def noise_loss(unet: UNet2DConditionModel, latents: torch.Tensor) -> torch.Tensor:
    """Loss of a diffusion model: the noise, from noisy latents."""
    noise, steps = torch.randn_like(latents), torch.randint(0, 1000, (len(latents),))
    noisy = SCHEDULER.add_noise(latents, noise, steps)
    return F.mse_loss(unet(noisy, steps, PROMPT_EMBEDS.expand(len(latents), -1, -1)).sample, noise)


def latent_loss(unet: UNet2DConditionModel, latents: torch.Tensor) -> torch.Tensor:
    """Loss of the seed's training: the latents, from pure noise at any timestep."""
    noise, steps = torch.randn_like(latents), torch.randint(0, 1000, (len(latents),))
    return F.l1_loss(unet(noise, steps, PROMPT_EMBEDS.expand(len(latents), -1, -1)).sample, latents)


@pytest.fixture(scope="module")
def diffusion(untrained: UNet2DConditionModel) -> UNet2DConditionModel:
    torch.manual_seed(2)
    return train(untrained, 60, noise_loss)


def test_a_diffusion_model_predicts_most_of_the_noise(diffusion: UNet2DConditionModel) -> None:
    assert measure_explained_noise(diffusion, ALPHAS_CUMPROD, PROMPT_EMBEDS) > 0.7
    assert find_noise_problem(diffusion, ALPHAS_CUMPROD, PROMPT_EMBEDS) is None


def test_random_weights_are_warned_of(untrained: UNet2DConditionModel) -> None:
    assert measure_explained_noise(untrained, ALPHAS_CUMPROD, PROMPT_EMBEDS) < MIN_EXPLAINED_NOISE
    assert "no diffusion model" in (find_noise_problem(untrained, ALPHAS_CUMPROD, PROMPT_EMBEDS) or "")


def test_a_u_net_trained_to_predict_latents_is_warned_of(diffusion: UNet2DConditionModel) -> None:
    torch.manual_seed(3)
    retrained = train(diffusion, 20, latent_loss)
    assert measure_explained_noise(retrained, ALPHAS_CUMPROD, PROMPT_EMBEDS) < MIN_EXPLAINED_NOISE
    assert find_noise_problem(retrained, ALPHAS_CUMPROD, PROMPT_EMBEDS) is not None


def test_a_prediction_of_zeros_explains_nothing(untrained: UNet2DConditionModel) -> None:
    zeroed = copy.deepcopy(untrained)
    torch.nn.init.zeros_(zeroed.conv_out.weight)
    torch.nn.init.zeros_(zeroed.conv_out.bias)
    assert measure_explained_noise(zeroed, ALPHAS_CUMPROD, PROMPT_EMBEDS) == 0


def test_the_probe_is_deterministic(untrained: UNet2DConditionModel) -> None:
    torch.manual_seed(4)
    first, state = measure_explained_noise(untrained, ALPHAS_CUMPROD, PROMPT_EMBEDS), torch.get_rng_state()
    assert measure_explained_noise(untrained, ALPHAS_CUMPROD, PROMPT_EMBEDS) == first
    assert torch.equal(torch.get_rng_state(), state)
