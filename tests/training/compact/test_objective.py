from dataclasses import replace

import pytest
import torch

from dda.models.compact.network import RESIDUAL_SCALE, CompactResidualModel
from dda.regions import REGIONS
from dda.training.compact.augmentation import CanonicalBatch
from dda.training.compact.objective import (
    CHROMA_ERROR_WEIGHT,
    LAST_TIMESTEP_PROBABILITY,
    MAKEUP_ERROR_WEIGHT,
    OUTSIDE_MASK_WEIGHT,
    RAW_ERROR_WEIGHT,
    REGION_WEIGHTS,
    SQUARED_ERROR_WEIGHT,
    residual_loss,
    sample_timesteps,
)

SIZE = 32


@pytest.fixture
def model() -> CompactResidualModel:
    torch.manual_seed(0)
    return CompactResidualModel(styles=("A", "B"), crop_size=SIZE, channels=(16, 16), style_dim=4)


@pytest.fixture
def batch() -> CanonicalBatch:
    """Four faces: style A darkens, style B brightens, on skin in one half of the picture."""
    generator = torch.Generator().manual_seed(1)
    source = 0.3 + 0.4 * torch.rand(4, 3, SIZE, SIZE, generator=generator)
    masks = torch.zeros(4, len(REGIONS), SIZE, SIZE)
    masks[:, REGIONS.index("skin"), :, SIZE // 2 :] = 1
    sign = torch.tensor([-1.0, 1.0, -1.0, 1.0])[:, None, None, None]
    target = source + 0.2 * sign * masks[:, REGIONS.index("skin"), None]
    return CanonicalBatch(source, target, masks, torch.tensor([0, 1, 0, 1]))


def loss_of(model: CompactResidualModel, batch: CanonicalBatch, seed: int = 0, bf16: bool = False) -> torch.Tensor:
    return residual_loss(model, batch, torch.Generator().manual_seed(seed), bf16)


def penalty(error: float) -> float:
    """p(z) of `residual_loss`."""
    return error + SQUARED_ERROR_WEIGHT * error**2


class FixedPrediction(CompactResidualModel):
    """A model with a given prediction, so that the loss can be computed by hand."""

    prediction: torch.Tensor

    def forward(self, noisy: torch.Tensor, *_: object) -> torch.Tensor:
        return self.prediction.expand_as(noisy)


def predicting(prediction: torch.Tensor) -> FixedPrediction:
    model = FixedPrediction(styles=("A", "B"), channels=(8, 8))
    model.prediction = prediction
    return model


def test_the_true_residual_has_no_loss(batch: CanonicalBatch) -> None:
    model = predicting((batch.target - batch.source) * RESIDUAL_SCALE)
    assert loss_of(model, batch).item() == pytest.approx(0, abs=1e-6)


def test_the_loss_of_no_residual_is_composed_and_raw(batch: CanonicalBatch) -> None:
    error = RESIDUAL_SCALE * 0.2
    # The residual lies in one half of the picture, all under a mask.
    composed = raw = (1 + MAKEUP_ERROR_WEIGHT * error) * penalty(error) / 2
    loss = loss_of(predicting(torch.zeros(1)), batch)
    assert loss.item() == pytest.approx(composed + RAW_ERROR_WEIGHT * raw, rel=1e-4)


def test_a_color_cast_has_a_loss_of_its_own(batch: CanonicalBatch) -> None:
    masks = torch.zeros_like(batch.masks)
    masks[:, REGIONS.index("skin")] = 1
    green = torch.tensor([0.0, 0.1, 0.0])[:, None, None]
    error = RESIDUAL_SCALE * 0.1
    weight = 1 + MAKEUP_ERROR_WEIGHT * error / 3
    one_channel = penalty(error) / 3
    expected = (
        weight * (1 + RAW_ERROR_WEIGHT + 2 * CHROMA_ERROR_WEIGHT) * one_channel
    )  # green minus red, blue minus green
    loss = loss_of(predicting(torch.zeros(1)), replace(batch, target=batch.source + green, masks=masks))
    assert loss.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("region", REGIONS)
def test_an_error_has_the_weight_of_its_region(region: str, batch: CanonicalBatch) -> None:
    masks = torch.zeros_like(batch.masks)
    masks[:, REGIONS.index(region)] = batch.masks.sum(1)
    error = RESIDUAL_SCALE * 0.2
    composed = REGION_WEIGHTS[region] * (1 + MAKEUP_ERROR_WEIGHT * error) * penalty(error) / 2
    loss = loss_of(predicting(torch.zeros(1)), replace(batch, masks=masks))
    assert loss.item() == pytest.approx((1 + RAW_ERROR_WEIGHT) * composed, rel=1e-4)


def test_outside_the_masks_the_residual_should_be_0(batch: CanonicalBatch) -> None:
    """Whatever was retouched there."""
    unmasked = replace(batch, masks=torch.zeros_like(batch.masks))
    assert loss_of(predicting(torch.zeros(1)), unmasked).item() == 0
    expected = OUTSIDE_MASK_WEIGHT * penalty(0.4)
    assert loss_of(predicting(torch.tensor(0.4)), unmasked).item() == pytest.approx(expected, rel=1e-4)


def test_the_composed_residual_has_the_learned_gains(batch: CanonicalBatch) -> None:
    model = predicting((batch.target - batch.source) * RESIDUAL_SCALE)
    with torch.no_grad():
        model.alpha.mul_(0.5)
    half = 0.5 * RESIDUAL_SCALE * 0.2
    expected = (1 + MAKEUP_ERROR_WEIGHT * 2 * half) * penalty(half) / 2
    assert loss_of(model, batch).item() == pytest.approx(expected, rel=1e-4)


def test_the_generator_decides_noise_and_timesteps(model: CompactResidualModel, batch: CanonicalBatch) -> None:
    torch.manual_seed(0)
    first = loss_of(model, batch)
    torch.manual_seed(1)
    assert torch.equal(loss_of(model, batch), first)
    assert not torch.equal(loss_of(model, batch, seed=1), first)


def test_every_parameter_has_a_gradient(model: CompactResidualModel, batch: CanonicalBatch) -> None:
    loss_of(model, batch).backward()
    idle = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    of_empty_masks = {
        f"fgmm.weights.{region}_weight" for region in ("eyes", "lips", "brows")
    }  # all masks but skin's are 0
    assert set(idle) == of_empty_masks


def test_training_on_a_batch_lowers_its_loss_and_tells_the_styles_apart(
    model: CompactResidualModel, batch: CanonicalBatch
) -> None:
    before = loss_of(model, batch).item()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(60):
        optimizer.zero_grad()
        loss_of(model, batch, seed=step).backward()
        optimizer.step()
    assert loss_of(model, batch).item() < 0.5 * before
    style_ids = batch.styles[:, None].expand(-1, len(REGIONS))
    noise = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        painted = model(noise, 999, batch.source, batch.masks, style_ids)[..., SIZE // 2 :].mean((1, 2, 3))
    assert bool((painted[[0, 2]] < 0).all()) and bool((painted[[1, 3]] > 0).all())


def test_bfloat16_is_about_the_same(model: CompactResidualModel, batch: CanonicalBatch) -> None:
    full, short = loss_of(model, batch), loss_of(model, batch, bf16=True)
    assert short.dtype == torch.float32 and not torch.equal(full, short)
    assert short.item() == pytest.approx(full.item(), rel=0.02)


def test_half_of_the_timesteps_are_the_last_and_the_others_uniform() -> None:
    drawn = sample_timesteps(4000, 1000, torch.Generator().manual_seed(0))
    assert int(drawn.min()) >= 0 and int(drawn.max()) == 999
    assert float((drawn == 999).float().mean()) == pytest.approx(LAST_TIMESTEP_PROBABILITY, abs=0.03)
    others = drawn[drawn != 999].float()
    assert float(others.mean()) == pytest.approx(499, abs=25)
