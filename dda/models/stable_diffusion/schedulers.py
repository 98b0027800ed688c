"""Schedulers: which of diffusers' can give both passes of a face the same noise, and the steps of a pass."""

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import diffusers
import torch

from dda.errors import OptionError

SUPPORTED_SCHEDULERS = (
    "DDIMScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "DEISMultistepScheduler",
    "UniPCMultistepScheduler",
)
"""Classes of diffusers whose steps are deterministic or take the noise as an argument.

Heun and KDPM2 (second order) run the U-Net 2 steps - 1 times, the others once a step.
"""

_DRAWS_NOISE = "draws its own noise inside each step, so the two passes of a face would not get the same"
_LOSES_POSITION = (
    "loses its position if a schedule is entered midway: even a perfect denoiser would not reconstruct the source"
)
_OTHER_MODEL = "is not a scheduler of Stable Diffusion 1"
UNSUPPORTED_SCHEDULERS = {
    "DDPMScheduler": _DRAWS_NOISE,
    "EulerAncestralDiscreteScheduler": _DRAWS_NOISE,
    "KDPM2AncestralDiscreteScheduler": _DRAWS_NOISE,
    "DPMSolverSDEScheduler": _DRAWS_NOISE,
    "LCMScheduler": _DRAWS_NOISE,
    "TCDScheduler": _DRAWS_NOISE,
    "SASolverScheduler": _DRAWS_NOISE,
    "PNDMScheduler": _LOSES_POSITION,
    "LMSDiscreteScheduler": _LOSES_POSITION,
    "EDMEulerScheduler": _OTHER_MODEL,
    "EDMDPMSolverMultistepScheduler": _OTHER_MODEL,
    "FlowMatchEulerDiscreteScheduler": _OTHER_MODEL,
}
"""Other classes of diffusers, with the reason why they cannot be used."""


class Sampler:
    """The last ``steps`` steps of a schedule of round(steps / strength).

    This is the schedule of ``StableDiffusionImg2ImgPipeline`` of diffusers (SDEdit: Meng et al., ICLR 2022), with
    timesteps spaced from the noisy end ("trailing": Lin et al., WACV 2024), so that they begin at about ``strength``
    of the schedule even if they are few.

    Args:
        name: class of diffusers, one of `SUPPORTED_SCHEDULERS`.
        config: configuration of the base model's scheduler, of any class.
        steps: denoising steps.
        strength: share of the schedule at which denoising begins, in (0, 1].
        device: where the latents are.

    Attributes:
        timesteps: of one pass, noisiest first.

    Raises:
        OptionError: the scheduler is not supported, or the schedule has more steps than the base model was trained on.
    """

    def __init__(self, name: str, config: Mapping[str, Any], steps: int, strength: float, device: torch.device) -> None:
        num_inference_steps = max(steps, round(steps / strength))
        num_train_timesteps = compute_alphas_cumprod(config).numel()
        # DDIM clips samples to [-1, 1] by default, which latents exceed; PNDM's configuration does not turn it off.
        overrides = {"clip_sample": False, **_timestep_spacing(name, num_train_timesteps // num_inference_steps)}
        check_scheduler(name)
        self._scheduler = getattr(diffusers, name).from_config({**config, **overrides})
        self._check_algorithm(name)
        if num_inference_steps > num_train_timesteps:
            raise OptionError(
                "strength",
                f"with steps={steps} the schedule has {num_inference_steps} steps, the base model was trained on "
                f"{num_train_timesteps}; take fewer steps or more strength",
                strength,
            )
        self._scheduler.set_timesteps(num_inference_steps, device=device)
        begin_index = (num_inference_steps - steps) * self._scheduler.order
        self.timesteps: torch.Tensor = self._scheduler.timesteps[begin_index:]
        self._num_inference_steps = num_inference_steps
        if hasattr(self._scheduler, "set_begin_index"):
            self._scheduler.set_begin_index(begin_index)

    def add_noise(self, latents: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Add noise of the first timestep's level to clean latents (N, 4, h, w)."""
        timesteps = self.timesteps[:1].repeat(len(latents))
        return self._scheduler.add_noise(latents, noise, timesteps)

    def begin_pass(self) -> "PassScheduler":
        """Return a scheduler for one pass, at the first timestep."""
        return PassScheduler(copy.deepcopy(self._scheduler))

    def make_inverse_scheduler(self) -> diffusers.DDIMInverseScheduler:
        """Make the scheduler of DDIM inversion (Song et al., ICLR 2021; Mokady et al., CVPR 2023).

        Its first ``len(timesteps)`` steps lead from clean latents to the first timestep's level of noise.

        Raises:
            OptionError: the scheduler is not DDIM.
        """
        name = type(self._scheduler).__name__
        if name != "DDIMScheduler":
            raise OptionError("scheduler", "start=inversion needs DDIMScheduler; or take start=noise", name)
        parameters = inspect.signature(diffusers.DDIMInverseScheduler).parameters
        config = {key: value for key, value in self._scheduler.config.items() if key in parameters}
        inverse = diffusers.DDIMInverseScheduler(**config)
        inverse.set_timesteps(self._num_inference_steps, device=self.timesteps.device)
        return inverse

    def _check_algorithm(self, name: str) -> None:
        algorithm = self._scheduler.config.get("algorithm_type", "")
        if algorithm.startswith("sde") and not _accepts_noise(self._scheduler):
            raise OptionError("scheduler", f"with the base model's algorithm_type={algorithm} it {_DRAWS_NOISE}", name)


class PassScheduler:
    """The scheduler of one pass; multistep schedulers keep the predictions of the steps before.

    Args:
        scheduler: of a class of diffusers, not shared with another pass.
    """

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._accepts_noise = _accepts_noise(scheduler)

    def scale_model_input(self, latents: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """Scale latents to the range that the U-Net was trained on, as the scheduler requires."""
        return self._scheduler.scale_model_input(latents, timestep)

    def step(
        self, prediction: torch.Tensor, timestep: torch.Tensor, latents: torch.Tensor, noise: torch.Tensor
    ) -> torch.Tensor:
        """Return the latents of the next timestep, (N, 4, h, w).

        Args:
            prediction: of the U-Net, (N, 4, h, w).
            timestep: of ``latents``.
            latents: (N, 4, h, w).
            noise: used by stochastic schedulers (SDE) only, (N, 4, h, w).
        """
        arguments = {"variance_noise": noise} if self._accepts_noise else {}
        return self._scheduler.step(prediction, timestep, latents, **arguments).prev_sample


def check_scheduler(name: str) -> None:
    """Check that a scheduler can give both passes of a face the same noise.

    Raises:
        OptionError: it is not one of `SUPPORTED_SCHEDULERS`, with the reason.
    """
    if name not in SUPPORTED_SCHEDULERS:
        reason = UNSUPPORTED_SCHEDULERS.get(name, "is not known to give both passes of a face the same noise")
        raise OptionError("scheduler", f"{reason}; allowed: {', '.join(SUPPORTED_SCHEDULERS)}", name)


def compute_alphas_cumprod(config: Mapping[str, Any]) -> torch.Tensor:
    """Compute alpha-bar (T,) of the schedule that a base model was trained on, in (0, 1), decreasing.

    Args:
        config: configuration of the base model's scheduler, of any class.
    """
    return diffusers.DDPMScheduler.from_config(config).alphas_cumprod


def _timestep_spacing(name: str, stride: int) -> dict[str, Any]:
    """Return the configuration under which a schedule begins at its noisy end.

    DDIM steps down by ``stride`` timesteps from wherever it is, so its own timesteps must be that far apart.
    """
    if name == "DDIMScheduler":
        return {"timestep_spacing": "leading", "steps_offset": stride - 1}
    return {"timestep_spacing": "trailing"}


def _accepts_noise(scheduler: Any) -> bool:
    return "variance_noise" in inspect.signature(scheduler.step).parameters
