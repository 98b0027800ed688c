"""Schedulers: the diffusers samplers that can give both passes the same noise, and how a pass walks along one."""

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import diffusers
import torch

from dda.errors import UserError

ALLOWED = (
    "DDIMScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "DEISMultistepScheduler",
    "UniPCMultistepScheduler",
)
"""Their steps are deterministic, or take the noise as an argument. Heun and KDPM2 run the U-Net once less than twice
as often as they have steps, the others once a step."""

_DRAWS = "draws its own noise inside each step, so the two passes of a face would not get the same"
_MIDWAY = "loses its place when a schedule is entered midway: even a perfect denoiser would not bring the source back"
_FOREIGN = "is not a sampler of Stable Diffusion 1"
REFUSED = {
    "DDPMScheduler": _DRAWS,
    "EulerAncestralDiscreteScheduler": _DRAWS,
    "KDPM2AncestralDiscreteScheduler": _DRAWS,
    "DPMSolverSDEScheduler": _DRAWS,
    "LCMScheduler": _DRAWS,
    "TCDScheduler": _DRAWS,
    "SASolverScheduler": _DRAWS,
    "PNDMScheduler": _MIDWAY,
    "LMSDiscreteScheduler": _MIDWAY,
    "EDMEulerScheduler": _FOREIGN,
    "EDMDPMSolverMultistepScheduler": _FOREIGN,
    "FlowMatchEulerDiscreteScheduler": _FOREIGN,
}


class Sampler:
    """The last ``steps`` steps of a schedule of round(steps / strength), as diffusers' image-to-image takes them.

    Steps are spaced from the noisy end ("trailing", Lin et al., WACV 2024), so that they begin at about
    ``strength`` of the schedule however few they are.

    The two passes of a face each walk it with a :meth:`walk` of their own, because many schedulers remember the steps
    before.

    Args:
        name: diffusers class, one of :data:`ALLOWED`.
        config: the base model's scheduler configuration, of whatever class.
        steps: denoising steps.
        strength: how far the source is noised, in (0, 1].
        device: where the latents are.

    Raises:
        UserError: a scheduler that is not allowed, or a schedule finer than the model was trained on.
    """

    def __init__(self, name: str, config: Mapping[str, Any], steps: int, strength: float, device: torch.device) -> None:
        total = max(steps, round(steps / strength))
        trained = noise_levels(config).numel()
        # DDIM's own default clips to the range of pictures; latents go beyond, and PNDM's configuration is silent
        ours = {"clip_sample": False, **_spacing(name, trained // total)}
        self._scheduler = _scheduler_class(name).from_config({**config, **ours})
        self._check_noise(name)
        if total > trained:
            raise UserError(
                f"model.strength={strength}: with model.steps={steps} the schedule has {total} steps, the model was "
                f"trained on {trained}; take fewer steps or more strength"
            )
        self._scheduler.set_timesteps(total, device=device)
        skipped = (total - steps) * self._scheduler.order
        self.timesteps: torch.Tensor = self._scheduler.timesteps[skipped:]
        self.total = total
        if hasattr(self._scheduler, "set_begin_index"):
            self._scheduler.set_begin_index(skipped)

    def noised(self, latents: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """The start of both passes: clean latents (N, 4, h, w) with noise of the first timestep's level."""
        timesteps = self.timesteps[:1].repeat(len(latents))
        return self._scheduler.add_noise(latents, noise, timesteps)

    def walk(self) -> "Walk":
        """One pass, from the first timestep."""
        return Walk(copy.deepcopy(self._scheduler))

    def _check_noise(self, name: str) -> None:
        algorithm = self._scheduler.config.get("algorithm_type", "")
        if algorithm.startswith("sde") and not _takes_noise(self._scheduler):
            raise UserError(f"model.scheduler={name}: with the base model's algorithm_type={algorithm} it {_DRAWS}")

    def inversion(self) -> diffusers.DDIMInverseScheduler:
        """The way back: its first ``len(timesteps)`` steps lead from clean latents to the start.

        Raises:
            UserError: the scheduler is not DDIM, whose steps alone can be inverted here.
        """
        name = type(self._scheduler).__name__
        if name != "DDIMScheduler":
            raise UserError(f"model.scheduler={name}: model.start=inversion needs DDIMScheduler; or model.start=noise")
        known = inspect.signature(diffusers.DDIMInverseScheduler).parameters
        config = {key: value for key, value in self._scheduler.config.items() if key in known}
        inverse = diffusers.DDIMInverseScheduler(**config)
        inverse.set_timesteps(self.total, device=self.timesteps.device)
        return inverse


class Walk:
    """One pass along a schedule, with the memory of its scheduler."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._takes_noise = _takes_noise(scheduler)

    def model_input(self, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """Latents on the scale that the U-Net was trained on."""
        return self._scheduler.scale_model_input(latents, timestep)

    def step(
        self, prediction: torch.Tensor, timestep: torch.Tensor, latents: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        """The next latents (N, 4, h, w); ``noise`` is used by stochastic schedulers, those of the SDE kind."""
        given = {"variance_noise": noise} if self._takes_noise else {}
        return self._scheduler.step(prediction, timestep, latents, **given).prev_sample


def _spacing(name: str, stride: int) -> dict[str, Any]:
    """Settings under which a schedule begins at its noisy end.

    DDIM goes down by whole strides wherever its timesteps are, so its own have to be as far apart.
    """
    if name == "DDIMScheduler":
        return {"timestep_spacing": "leading", "steps_offset": stride - 1}
    return {"timestep_spacing": "trailing"}


def noise_levels(config: Mapping[str, Any]) -> torch.Tensor:
    """alpha-bar (T,) of the schedule that a model was trained on, in (0, 1), falling."""
    return diffusers.DDPMScheduler.from_config(config).alphas_cumprod


def _takes_noise(scheduler: Any) -> bool:
    return "variance_noise" in inspect.signature(scheduler.step).parameters


def check_scheduler(name: str) -> None:
    """Refuse a scheduler that cannot give both passes of a face the same noise.

    Raises:
        UserError: it is not one of :data:`ALLOWED`, and why.
    """
    if name not in ALLOWED:
        reason = REFUSED.get(name, "is not known to give both passes of a face the same noise")
        raise UserError(f"model.scheduler={name}: {reason}; allowed: {', '.join(ALLOWED)}")


def _scheduler_class(name: str) -> Any:
    check_scheduler(name)
    return getattr(diffusers, name)
