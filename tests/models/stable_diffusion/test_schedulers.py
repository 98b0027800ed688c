import diffusers
import pytest
import torch
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers

from dda.errors import UserError
from dda.models.stable_diffusion import schedulers
from dda.models.stable_diffusion.schedulers import ALLOWED, REFUSED, Sampler, noise_levels

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


def sampler(name: str = "DDIMScheduler", steps: int = 3, strength: float = 0.3, **config: object) -> Sampler:
    return Sampler(name, {**SD15, **config}, steps, strength, CPU)


def noise(seed: int) -> torch.Tensor:
    return torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def perfectly_denoised(chosen: Sampler, clean: torch.Tensor, start_noise: torch.Tensor) -> torch.Tensor:
    """Where a pass ends whose U-Net always tells the noise that was added."""
    latents, walk = chosen.noised(clean, start_noise), chosen.walk()
    for timestep in chosen.timesteps:
        walk.model_input(latents, timestep)
        latents = walk.step(start_noise, timestep, latents, torch.zeros_like(latents))
    return latents


@pytest.mark.parametrize("name", ALLOWED)
def test_a_perfect_denoiser_brings_the_source_back(name: str) -> None:
    for steps, strength in SCHEDULES:
        ended = perfectly_denoised(sampler(name, steps, strength), noise(0), noise(1))
        # the last step of some goes to the lowest level that was trained, which keeps 2.9 % of the noise
        assert (ended - noise(0)).abs().max() <= 0.03 * noise(1).abs().max(), (steps, strength)


@pytest.mark.parametrize("name", ["PNDMScheduler", "LMSDiscreteScheduler"])
def test_those_refused_for_losing_their_place_do_lose_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedulers, "ALLOWED", (name,))
    ended = perfectly_denoised(sampler(name), noise(0), noise(1))
    assert (ended - noise(0)).abs().max() > 0.3


@pytest.mark.parametrize("name", ["DDPMScheduler", "EulerAncestralDiscreteScheduler", "LCMScheduler", "TCDScheduler"])
def test_those_refused_for_drawing_noise_do_draw_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedulers, "ALLOWED", (name,))
    chosen = sampler(name)
    start = chosen.noised(noise(0), noise(1))
    first, second = (chosen.walk().step(noise(2), chosen.timesteps[0], start, noise(3)) for _ in range(2))
    assert not torch.equal(first, second)


@pytest.mark.parametrize("name", ALLOWED)
def test_two_passes_of_the_same_predictions_are_the_same_to_the_bit(name: str) -> None:
    chosen = sampler(name)
    start = chosen.noised(noise(0), noise(1))
    ended = []
    for walk in (chosen.walk(), chosen.walk()):
        latents = start
        for index, timestep in enumerate(chosen.timesteps):
            walk.model_input(latents, timestep)
            latents = walk.step(noise(2 + index), timestep, latents, noise(20 + index))
        ended.append(latents)
    assert torch.equal(*ended)


def test_passes_side_by_side_do_not_disturb_each_other() -> None:
    chosen = sampler("UniPCMultistepScheduler", steps=4)
    start = chosen.noised(noise(0), noise(1))
    alone, first, other = chosen.walk(), chosen.walk(), chosen.walk()
    expected, latents, elsewhere = start, start, start
    for index, timestep in enumerate(chosen.timesteps):
        expected = alone.step(noise(2 + index), timestep, expected, start)
    for index, timestep in enumerate(chosen.timesteps):
        latents = first.step(noise(2 + index), timestep, latents, start)
        elsewhere = other.step(noise(9 + index), timestep, elsewhere, start)
    assert torch.equal(latents, expected)
    assert not torch.equal(elsewhere, expected)


def test_a_stochastic_scheduler_uses_the_noise_it_is_given() -> None:
    chosen = sampler("DPMSolverMultistepScheduler", algorithm_type="sde-dpmsolver++")
    start = chosen.noised(noise(0), noise(1))
    ended = [
        chosen.walk().step(noise(2), chosen.timesteps[0], start, given) for given in (noise(3), noise(3), noise(4))
    ]
    assert torch.equal(ended[0], ended[1])
    assert not torch.equal(ended[0], ended[2])


def test_the_last_steps_of_a_longer_schedule_are_taken() -> None:
    assert sampler(steps=3, strength=0.3).timesteps.tolist() == [299, 199, 99]
    assert sampler(steps=4, strength=1.0).timesteps.tolist() == [999, 749, 499, 249]


@pytest.mark.parametrize("name", ALLOWED)
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 30])
def test_the_source_is_noised_as_far_as_strength_says_however_few_the_steps(name: str, steps: int) -> None:
    assert 270 < sampler(name, steps, 0.3).timesteps[0] < 340


def test_every_scheduler_of_stable_diffusion_is_allowed_or_refused_with_a_reason() -> None:
    assert {kind.name for kind in KarrasDiffusionSchedulers} <= {*ALLOWED, *REFUSED}
    assert not set(ALLOWED) & set(REFUSED)
    assert all(hasattr(diffusers, name) for name in (*ALLOWED, *REFUSED))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("DDPMScheduler", "draws its own noise"),
        ("PNDMScheduler", "loses its place"),
        ("EDMEulerScheduler", "not a sampler of Stable Diffusion 1"),
        ("NoSuchScheduler", "not known"),
    ],
)
def test_others_are_refused_with_a_reason(name: str, reason: str) -> None:
    with pytest.raises(UserError, match=f"^model.scheduler={name}: .*{reason}.*; allowed: DDIMScheduler, ") as refusal:
        sampler(name)
    assert "\n" not in str(refusal.value)


def test_a_base_model_that_makes_a_scheduler_draw_noise_is_refused() -> None:
    with pytest.raises(UserError, match="algorithm_type=sde-dpmsolver"):
        sampler("DPMSolverSinglestepScheduler", algorithm_type="sde-dpmsolver++")


def test_a_schedule_finer_than_the_models_is_refused() -> None:
    with pytest.raises(UserError, match=r"model.strength=0.001.* 3000 steps"):
        sampler(steps=3, strength=0.001)


def test_only_ddim_is_inverted() -> None:
    with pytest.raises(UserError, match=r"EulerDiscreteScheduler: model.start=inversion needs DDIMScheduler"):
        sampler("EulerDiscreteScheduler").inversion()


def test_inversion_climbs_to_the_level_that_the_passes_start_from() -> None:
    chosen = sampler(steps=3)
    inverse, latents, clean = chosen.inversion(), noise(0), noise(0)
    for timestep in inverse.timesteps[:3]:
        latents = inverse.step(noise(1), timestep, latents).prev_sample
    assert inverse.timesteps[:3].tolist() == chosen.timesteps.tolist()[::-1]
    assert (latents - chosen.noised(clean, noise(1))).abs().max() < 0.1  # that much noise the lowest level has itself


def test_noise_levels_fall_from_nearly_one() -> None:
    levels = noise_levels(SD15)
    assert levels.shape == (1000,)
    assert levels[0] == pytest.approx(0.99915, abs=1e-5)
    assert levels[-1] == pytest.approx(0.0047, abs=1e-4)
    assert (levels.diff() < 0).all()
