import copy
from collections.abc import Callable

import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch.nn import functional as F

from dda.models.stable_diffusion.noise_probe import MIN_SKILL, noise_skill, noise_warning

SCHEDULER = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
ALPHAS = SCHEDULER.alphas_cumprod
TOKENS = torch.ones(1, 3, 16)


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
    """The U-Net after so many updates on smooth latents, (4, 4, 8, 8) each."""
    unet = copy.deepcopy(unet)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(1)
    for _ in range(updates):
        latents = F.interpolate(torch.randn(4, 4, 2, 2, generator=generator), size=8, mode="bilinear")
        optimizer.zero_grad()
        loss(unet, latents).backward()
        optimizer.step()
    return unet.eval()


def of_noise(unet: UNet2DConditionModel, latents: torch.Tensor) -> torch.Tensor:
    """The loss of a diffusion model."""
    noise, steps = torch.randn_like(latents), torch.randint(0, 1000, (len(latents),))
    noisy = SCHEDULER.add_noise(latents, noise, steps)
    return F.mse_loss(unet(noisy, steps, TOKENS.expand(len(latents), -1, -1)).sample, noise)


def of_latents(unet: UNet2DConditionModel, latents: torch.Tensor) -> torch.Tensor:
    """The loss of the seed's training: latents out of pure noise, at any timestep."""
    noise, steps = torch.randn_like(latents), torch.randint(0, 1000, (len(latents),))
    return F.l1_loss(unet(noise, steps, TOKENS.expand(len(latents), -1, -1)).sample, latents)


@pytest.fixture(scope="module")
def diffusion(untrained: UNet2DConditionModel) -> UNet2DConditionModel:
    torch.manual_seed(2)
    return train(untrained, 60, of_noise)


def test_a_diffusion_model_predicts_most_of_the_noise(diffusion: UNet2DConditionModel) -> None:
    assert noise_skill(diffusion, ALPHAS, TOKENS) > 0.7
    assert noise_warning(diffusion, ALPHAS, TOKENS) is None


def test_random_weights_are_no_diffusion_model(untrained: UNet2DConditionModel) -> None:
    assert noise_skill(untrained, ALPHAS, TOKENS) < MIN_SKILL
    assert "no diffusion model" in (noise_warning(untrained, ALPHAS, TOKENS) or "")


def test_what_was_trained_to_paint_latents_is_no_diffusion_model_any_more(diffusion: UNet2DConditionModel) -> None:
    torch.manual_seed(3)
    seeds_way = train(diffusion, 20, of_latents)
    assert noise_skill(seeds_way, ALPHAS, TOKENS) < MIN_SKILL
    assert noise_warning(seeds_way, ALPHAS, TOKENS) is not None


def test_predicting_nothing_is_chance(untrained: UNet2DConditionModel) -> None:
    silent = copy.deepcopy(untrained)
    torch.nn.init.zeros_(silent.conv_out.weight)
    torch.nn.init.zeros_(silent.conv_out.bias)
    assert noise_skill(silent, ALPHAS, TOKENS) == 0


def test_the_answer_is_the_same_each_time(untrained: UNet2DConditionModel) -> None:
    torch.manual_seed(4)
    first, state = noise_skill(untrained, ALPHAS, TOKENS), torch.get_rng_state()
    assert noise_skill(untrained, ALPHAS, TOKENS) == first
    assert torch.equal(torch.get_rng_state(), state)
