from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from dda.models.stable_diffusion.pretrained import load_stable_diffusion
from dda.training.lora.base_model import LoraBaseModel
from dda.training.lora.batch import Batch
from dda.training.lora.objective import (
    CROP_LOSS_WEIGHT,
    MAX_SNR,
    OUTSIDE_MASK_WEIGHT,
    REGION_WEIGHTS,
    crop_loss,
    draw_bounding_boxes,
    masked_loss,
    noise_loss,
)


@pytest.fixture
def masks() -> torch.Tensor:
    """Eyes over the top left, lips below, skin around; the second picture has no face."""
    masks = torch.zeros(2, 4, 8, 8)
    masks[0, 0, 1:3, 1:4] = 0.5
    masks[0, 1, 5, 2:6] = 1.0
    masks[0, 2, 3:5, 2:6] = 0.8
    return masks


@pytest.fixture
def error() -> torch.Tensor:
    return torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0))


def weights(masks: torch.Tensor) -> np.ndarray:
    by_region = sum(REGION_WEIGHTS[name] * masks[0, r] for r, name in enumerate(("eyes", "lips", "skin", "brows")))
    return (by_region + OUTSIDE_MASK_WEIGHT * (1 - masks[0].sum(0))).numpy()


def test_the_masked_loss_is_a_mean_weighted_by_region(error: torch.Tensor, masks: torch.Tensor) -> None:
    loss = masked_loss(error, masks)
    assert float(loss[0]) == pytest.approx(np.average(error[0], weights=weights(masks)))
    assert float(loss[1]) == pytest.approx(float(error[1].mean()))
    assert torch.allclose(masked_loss(torch.full_like(error, 3.0), masks), torch.tensor(3.0))


def test_errors_in_makeup_regions_count_more(masks: torch.Tensor) -> None:
    inside, outside = torch.zeros(2, 2, 8, 8)
    inside[:, 5, 3] = 1
    outside[:, 7, 7] = 1
    assert masked_loss(inside, masks)[0] == pytest.approx(float(masked_loss(outside, masks)[0]) * 20)


def test_eyes_and_lips_have_the_same_weight_in_the_crop_loss(error: torch.Tensor, masks: torch.Tensor) -> None:
    loss, weight = crop_loss(error, masks), weights(masks)
    eyes = np.average(error[0, 1:3, 1:4], weights=weight[1:3, 1:4])
    lips = np.average(error[0, 5:6, 2:6], weights=weight[5:6, 2:6])
    assert float(loss[0]) == pytest.approx((eyes + lips) / 2)
    assert loss[1] == 0  # no face


def test_a_hidden_region_has_no_crop(error: torch.Tensor, masks: torch.Tensor) -> None:
    masks[0, 0] = 0
    lips = np.average(error[0, 5:6, 2:6], weights=weights(masks)[5:6, 2:6])
    assert float(crop_loss(error, masks)[0]) == pytest.approx(lips)


def test_a_box_is_the_smallest_that_holds_a_mask() -> None:
    mask = torch.zeros(1, 2, 6, 7)
    mask[0, 0, 1, 5] = mask[0, 0, 4, 2] = 0.1
    box = torch.zeros(6, 7)
    box[1:5, 2:6] = 1
    assert torch.equal(draw_bounding_boxes(mask)[0], torch.stack([box, torch.zeros(6, 7)]))


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_perfect_prediction_has_no_loss(prediction_type: str, tiny_sd: Path, masks: torch.Tensor) -> None:
    model = load_stable_diffusion(str(tiny_sd))
    schedule = DDPMScheduler.from_config(model.scheduler_config, prediction_type=prediction_type)
    base = LoraBaseModel(model, None, torch.zeros(2, 77, 32), schedule)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    pictures, noise = torch.rand(2, 3, 64, 64, generator=generator), torch.randn(2, 4, 8, 8, generator=generator)
    timesteps = torch.tensor([100, 800])
    batch = Batch(pictures, pictures, masks, torch.tensor([0, 1]), noise, timesteps, timesteps)
    latents = base.encode(pictures)
    signal = schedule.alphas_cumprod[timesteps].sqrt()[:, None, None, None]
    spread = (1 - signal**2).sqrt()
    snr = (signal / spread).flatten() ** 2
    assert snr[0] > MAX_SNR > snr[1]
    weight = snr.clamp(max=MAX_SNR) / (snr if prediction_type == "epsilon" else snr + 1)
    right = noise if prediction_type == "epsilon" else signal * noise - spread * latents

    def predict(noisy: torch.Tensor, *given: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
        assert torch.allclose(noisy, signal * latents + spread * noise, atol=1e-6)
        return (right + offset,)

    offset = 0.0
    assert torch.allclose(noise_loss(predict, base, batch), torch.zeros(2), atol=1e-9)
    offset = 2.0
    assert torch.allclose(
        noise_loss(predict, base, batch), torch.tensor([4 + 4 * CROP_LOSS_WEIGHT, 4.0]) * weight, atol=1e-4
    )


class FixedPrediction:
    """A U-Net with a given prediction that keeps its input."""

    def __init__(self, prediction: torch.Tensor) -> None:
        self.prediction = prediction

    def __call__(self, noisy: torch.Tensor, *_: object, return_dict: bool) -> tuple[torch.Tensor]:
        self.noisy = noisy
        return (self.prediction,)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_the_prediction_target_leads_from_the_noised_source_to_the_target(
    prediction_type: str, tiny_sd: Path, masks: torch.Tensor
) -> None:
    """The steps of DDIM in diffusers, from the noised source, see the inputs and targets of the loss."""
    model = load_stable_diffusion(str(tiny_sd))
    schedule = DDPMScheduler.from_config(model.scheduler_config, prediction_type=prediction_type)
    base = LoraBaseModel(model, None, torch.zeros(2, 77, 32), schedule)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    source, target = torch.rand(2, 1, 3, 64, 64, generator=generator)
    noise = torch.randn(1, 4, 8, 8, generator=generator)
    ddim = DDIMScheduler.from_config(model.scheduler_config, prediction_type=prediction_type, set_alpha_to_one=True)
    ddim.set_timesteps(10)
    timesteps = ddim.timesteps[4:]
    start = timesteps[:1]
    ratio = (schedule.alphas_cumprod[start] / (1 - schedule.alphas_cumprod[start])).sqrt()
    leading_noise = noise + ratio * (base.encode(source) - base.encode(target))
    latents = schedule.add_noise(base.encode(source), noise, start)
    for timestep in timesteps:
        unet = FixedPrediction(base.prediction_target(base.encode(target), leading_noise, timestep[None]))
        batch = Batch(target, source, masks[:1], torch.tensor([1]), noise, timestep[None], start)
        assert noise_loss(unet, base, batch).item() < 1e-9
        assert torch.allclose(unet.noisy, latents, atol=1e-4)
        latents = ddim.step(unet.prediction, timestep, latents).prev_sample
    assert torch.allclose(latents, base.encode(target), atol=0.02)
