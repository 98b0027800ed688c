from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dda.models.compact.network import RESIDUAL_SCALE, CompactResidualModel, make_scheduler, sample_residual
from dda.regions import REGIONS

STYLE_IDS = torch.tensor([[0, 0, 0, 0]])


@pytest.fixture(scope="module")
def model() -> CompactResidualModel:
    torch.manual_seed(0)
    model = CompactResidualModel(styles=("A", "B", "C"), crop_size=64, channels=(16, 16), style_dim=4)
    return model.eval().requires_grad_(False)


@pytest.fixture
def crops() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise, source and masks of three crops."""
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(3, 3, 64, 64, generator=generator)
    return noise, torch.rand(3, 3, 64, 64, generator=generator), torch.rand(3, 4, 64, 64, generator=generator) / 4


# --- The network ----------------------------------------------------------------------------------------


def test_a_saved_model_is_the_same_model(
    model: CompactResidualModel, crops: tuple[torch.Tensor, ...], tmp_path: Path
) -> None:
    model.save_pretrained(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"config.json", "diffusion_pytorch_model.safetensors"}
    assert load_file(tmp_path / "diffusion_pytorch_model.safetensors").keys() == model.state_dict().keys()
    loaded = CompactResidualModel.from_pretrained(tmp_path).eval()
    noise, source, masks = crops
    ids = STYLE_IDS.expand(3, -1)
    assert torch.equal(loaded(noise, 500, source, masks, ids), model(noise, 500, source, masks, ids))
    assert {**loaded.config}.items() >= {"crop_size": 64, "patch": 4, "style_dim": 4}.items()


def test_the_state_dict_has_the_names_of_the_seed_format(model: CompactResidualModel) -> None:
    names = set(model.state_dict())
    assert {"alpha", "fgmm.styles", *(f"fgmm.weights.{region}_weight" for region in REGIONS)} <= names
    assert any(name.startswith("unet.") for name in names)


@pytest.mark.parametrize("part", ["noise", "timestep", "source", "masks", "style"])
def test_the_prediction_depends_on_every_input(
    part: str, model: CompactResidualModel, crops: tuple[torch.Tensor, ...]
) -> None:
    noise, source, masks = crops
    inputs = {"noise": noise, "timestep": 500, "source": source, "masks": masks, "style": STYLE_IDS.expand(3, -1)}
    before = model(*inputs.values())
    assert before.shape == noise.shape
    other = {"noise": noise.flip(0), "timestep": 10, "source": source.flip(0), "masks": masks.flip(0)}
    inputs[part] = other.get(part, torch.tensor([[0, 1, 0, 0]]).expand(3, -1))
    assert float((model(*inputs.values()) - before).abs().max()) > 1e-5


def test_gains_are_relative_to_the_initial_alpha() -> None:
    untrained = CompactResidualModel(styles=("A",), channels=(8, 8), style_dim=4)
    assert torch.equal(untrained.gains(), torch.ones(4))
    with torch.no_grad():
        untrained.alpha.fill_(0.75)
        untrained.fgmm.weights["lips_weight"].fill_(2.0)
    assert torch.allclose(untrained.gains(), torch.tensor([1.5, 3.0, 1.5, 1.5]))


# --- Sampling -------------------------------------------------------------------------------------------


def test_the_schedule_ends_in_pure_noise_and_sampling_starts_there() -> None:
    scheduler = make_scheduler()
    assert float(scheduler.alphas_cumprod[-1]) < 1e-6
    for steps in (1, 2, 10):
        scheduler.set_timesteps(steps)
        assert len(scheduler.timesteps) == steps and int(scheduler.timesteps[0]) == 999


def test_one_step_is_the_prediction_from_pure_noise(
    model: CompactResidualModel, crops: tuple[torch.Tensor, ...]
) -> None:
    noise, source, masks = crops
    ids = STYLE_IDS.expand(3, -1)
    expected = model(noise, 999, source, masks, ids) / RESIDUAL_SCALE
    assert torch.allclose(sample_residual(model, source, masks, ids, noise, 1), expected, atol=1e-5)


def test_two_steps_are_those_of_ddim(model: CompactResidualModel, crops: tuple[torch.Tensor, ...]) -> None:
    """x0 at 999, noised to the level of 499 with the same noise, x0 there (Song et al., ICLR 2021, eta = 0)."""
    noise, source, masks = crops
    ids = STYLE_IDS.expand(3, -1)
    alpha_cumprod = make_scheduler().alphas_cumprod[499]
    first = model(noise, 999, source, masks, ids)
    noisy = alpha_cumprod.sqrt() * first + (1 - alpha_cumprod).sqrt() * noise
    expected = model(noisy, 499, source, masks, ids) / RESIDUAL_SCALE
    assert torch.allclose(sample_residual(model, source, masks, ids, noise, 2), expected, atol=1e-4)


@pytest.mark.parametrize("steps", [1, 3, 6, 7, 15, 600])
def test_no_noise_is_left_whatever_the_number_of_steps(steps: int) -> None:
    """With a perfect prediction; 6, 7, 15 and 600 steps do not divide 1000, so their last step ends before t = 0."""
    truth, noise = torch.randn(2, 1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    sampled = sample_residual(lambda *_: truth, truth, truth, truth, noise, steps)  # type: ignore[arg-type]
    assert torch.allclose(sampled, truth / RESIDUAL_SCALE, atol=1e-6)
