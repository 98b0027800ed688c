import diffusers
import pytest
import torch
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers

from dda.errors import OptionError
from dda.models.stable_diffusion import schedulers
from dda.models.stable_diffusion.schedulers import (
    SUPPORTED_SCHEDULERS,
    UNSUPPORTED_SCHEDULERS,
    Sampler,
    compute_alphas_cumprod,
)

SD15 = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
}
CPU = torch.device("cpu")
SCHEDULES = [(1, 0.1), (2, 0.3), (3, 0.3), (5, 0.8), (4, 1.0)]


def make_sampler(name: str = "DDIMScheduler", steps: int = 3, strength: float = 0.3, **config: object) -> Sampler:
    return Sampler(name, {**SD15, **config}, steps, strength, CPU)


def noise(seed: int) -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def denoise_perfectly(sampler: Sampler, clean: torch.Tensor, start_noise: torch.Tensor) -> torch.Tensor:
    """The latents after a pass in which the U-Net always predicts the noise that was added."""
    latents, scheduler = sampler.add_noise(clean, start_noise), sampler.begin_pass()
    for timestep in sampler.timesteps:
        scheduler.scale_model_input(latents, timestep)
        latents = scheduler.step(start_noise, timestep, latents, torch.zeros_like(latents))
    return latents


@pytest.mark.parametrize("name", SUPPORTED_SCHEDULERS)
def test_a_perfect_denoiser_reconstructs_the_source(name: str) -> None:
    for steps, strength in SCHEDULES:
        ended = denoise_perfectly(make_sampler(name, steps, strength), noise(0), noise(1))
        # the last step of some goes to the lowest level that was trained, which keeps 2.9 % of the noise
        assert (ended - noise(0)).abs().max() <= 0.03 * noise(1).abs().max(), (steps, strength)


@pytest.mark.parametrize("name", ["PNDMScheduler", "LMSDiscreteScheduler"])
def test_schedulers_refused_for_losing_their_position_do_lose_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedulers, "SUPPORTED_SCHEDULERS", (name,))
    ended = denoise_perfectly(make_sampler(name), noise(0), noise(1))
    assert (ended - noise(0)).abs().max() > 0.3


@pytest.mark.parametrize("name", ["DDPMScheduler", "EulerAncestralDiscreteScheduler", "LCMScheduler", "TCDScheduler"])
def test_schedulers_refused_for_drawing_noise_do_draw_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedulers, "SUPPORTED_SCHEDULERS", (name,))
    sampler = make_sampler(name)
    start = sampler.add_noise(noise(0), noise(1))
    first, second = (sampler.begin_pass().step(noise(2), sampler.timesteps[0], start, noise(3)) for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", SUPPORTED_SCHEDULERS)
def test_two_passes_with_the_same_predictions_are_equal_bit_for_bit(name: str) -> None:
    sampler = make_sampler(name)
    start = sampler.add_noise(noise(0), noise(1))
    ended = []
    for scheduler in (sampler.begin_pass(), sampler.begin_pass()):
        latents = start
        for index, timestep in enumerate(sampler.timesteps):
            scheduler.scale_model_input(latents, timestep)
            latents = scheduler.step(noise(2 + index), timestep, latents, noise(20 + index))
        ended.append(latents)
    assert torch.equal(*ended)


def test_interleaved_passes_do_not_change_each_other() -> None:
    sampler = make_sampler("UniPCMultistepScheduler", steps=4)
    start = sampler.add_noise(noise(0), noise(1))
    alone, first, other = sampler.begin_pass(), sampler.begin_pass(), sampler.begin_pass()
    expected, latents, elsewhere = start, start, start
    for index, timestep in enumerate(sampler.timesteps):
        expected = alone.step(noise(2 + index), timestep, expected, start)
    for index, timestep in enumerate(sampler.timesteps):
        latents = first.step(noise(2 + index), timestep, latents, start)
        elsewhere = other.step(noise(9 + index), timestep, elsewhere, start)
    assert torch.equal(latents, expected)
    assert not torch.equal(elsewhere, expected)


def test_a_stochastic_scheduler_uses_the_noise_it_is_given() -> None:
    sampler = make_sampler("DPMSolverMultistepScheduler", algorithm_type="sde-dpmsolver++")
    start = sampler.add_noise(noise(0), noise(1))
    ended = [
        sampler.begin_pass().step(noise(2), sampler.timesteps[0], start, given)
        for given in (noise(3), noise(3), noise(4))
    ]
    assert torch.equal(ended[0], ended[1])
    assert not torch.equal(ended[0], ended[2])


def test_the_timesteps_are_the_last_of_a_longer_schedule() -> None:
    assert make_sampler(steps=3, strength=0.3).timesteps.tolist() == [299, 199, 99]
    assert make_sampler(steps=4, strength=1.0).timesteps.tolist() == [999, 749, 499, 249]


@pytest.mark.parametrize("name", SUPPORTED_SCHEDULERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 30])
def test_strength_is_the_level_of_noise_at_the_start_for_any_number_of_steps(name: str, steps: int) -> None:
    assert 270 < make_sampler(name, steps, 0.3).timesteps[0] < 340


def test_every_scheduler_of_stable_diffusion_is_supported_or_has_a_reason() -> None:
    assert {kind.name for kind in KarrasDiffusionSchedulers} <= {*SUPPORTED_SCHEDULERS, *UNSUPPORTED_SCHEDULERS}
    assert not set(SUPPORTED_SCHEDULERS) & set(UNSUPPORTED_SCHEDULERS)
    assert all(hasattr(diffusers, name) for name in (*SUPPORTED_SCHEDULERS, *UNSUPPORTED_SCHEDULERS))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("DDPMScheduler", "draws its own noise"),
        ("PNDMScheduler", "loses its position"),
        ("EDMEulerScheduler", "not a scheduler of Stable Diffusion 1"),
        ("NoSuchScheduler", "not known"),
    ],
)
def test_other_schedulers_are_refused_with_a_reason(name: str, reason: str) -> None:
    with pytest.raises(OptionError, match=f"^scheduler={name}: .*{reason}.*; allowed: DDIMScheduler, ") as caught:
        make_sampler(name)
    assert "\n" not in str(caught.value)


def test_an_algorithm_type_that_draws_noise_is_refused() -> None:
    with pytest.raises(OptionError, match="algorithm_type=sde-dpmsolver"):
        make_sampler("DPMSolverSinglestepScheduler", algorithm_type="sde-dpmsolver++")


def test_more_steps_than_the_base_model_was_trained_on_are_refused() -> None:
    with pytest.raises(OptionError, match=r"strength=0.001.* 3000 steps"):
        make_sampler(steps=3, strength=0.001)


def test_inversion_of_another_scheduler_than_ddim_is_refused() -> None:
    with pytest.raises(OptionError, match=r"EulerDiscreteScheduler: start=inversion needs DDIMScheduler"):
        make_sampler("EulerDiscreteScheduler").make_inverse_scheduler()


def test_inversion_ends_at_the_level_of_noise_that_the_passes_start_from() -> None:
    sampler = make_sampler(steps=3)
    inverse, latents, clean = sampler.make_inverse_scheduler(), noise(0), noise(0)
    for timestep in inverse.timesteps[:3]:
        latents = inverse.step(noise(1), timestep, latents).prev_sample
    assert inverse.timesteps[:3].tolist() == sampler.timesteps.tolist()[::-1]
    error = (latents - sampler.add_noise(clean, noise(1))).abs()
    assert error.max() < 0.1  # the lowest level itself has that much noise


def test_alphas_cumprod_decrease_from_nearly_one() -> None:
    alphas_cumprod = compute_alphas_cumprod(SD15)
    assert alphas_cumprod.shape == (1000,)
    assert alphas_cumprod[0] == pytest.approx(0.99915, abs=1e-5)
    assert alphas_cumprod[-1] == pytest.approx(0.0047, abs=1e-4)
    assert (alphas_cumprod.diff() < 0).all()
