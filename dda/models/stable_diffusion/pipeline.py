"""Stable Diffusion 1 as an amplifier: two passes from one start, and the difference of what they decode to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDIMInverseScheduler
from torch import nn
from torch.nn import functional as F

from dda.faces.alignment import ALIGNED_SIZE
from dda.faces.face import Face
from dda.models.residuals import Residuals
from dda.models.stable_diffusion.precision import vae_dtype
from dda.models.stable_diffusion.pretrained import StableDiffusion
from dda.models.stable_diffusion.region_attention import RegionConditions, gate_by_region
from dda.models.stable_diffusion.schedulers import Sampler
from dda.models.stable_diffusion.text_conditions import Conditions, condition
from dda.regions import REGIONS
from dda.styles import Style

SMALL_MEMORY = 16 * 2**30
"""Bytes of device memory below which pictures go through the VAE one by one."""


@dataclass(frozen=True)
class Sampling:
    """How a pass is walked; the fields are those of the ``model`` configuration group."""

    steps: int = 3
    start: str = "noise"
    strength: float = 0.3
    scheduler: str = "DDIMScheduler"
    guidance: float = 1.0
    conditioning: str = "attention"

    def open(self, scheduler: Mapping[str, Any], device: torch.device) -> tuple[Sampler, DDIMInverseScheduler | None]:
        """How a pass is walked on a base model of this scheduler configuration; and back, for ``start=inversion``.

        Raises:
            UserError: a scheduler that cannot do it, or a schedule finer than the model was trained on.
        """
        sampler = Sampler(self.scheduler, scheduler, self.steps, self.strength, device)
        return sampler, sampler.inversion() if self.start == "inversion" else None


@dataclass(frozen=True)
class BarePass:
    """What all styles of N faces share; ``h`` x ``w`` is the latent grid.

    Attributes:
        trajectory: latents z0 of the bare pass, from the start to the end, each (N, 4, h, w).
        reconstruction: D(z0) (N, 3, H, W), black 0, white 1.
        detail: R_d = x - D(z0) (N, 3, H, W).
        noise: of each step, (N, steps, 4, h, w).
        masks: the region masks averaged over the cells of the latent grid, (N, 4, h, w).
        open: (N, 1, h, w), true where a cell has a pixel of M > 0; elsewhere the latents are locked to the bare ones.
        face_tokens: what the conditions take from the faces themselves, (N, P, D).
        condition: the bare one, (N, P + T, D).
    """

    trajectory: list[torch.Tensor]
    reconstruction: torch.Tensor
    detail: torch.Tensor
    noise: torch.Tensor
    masks: torch.Tensor
    open: torch.Tensor
    face_tokens: torch.Tensor
    condition: torch.Tensor

    def of(self, members: Sequence[int]) -> "BarePass":
        """The same of some of the faces, in any order, with repeats."""
        rows = torch.as_tensor(list(members), device=self.noise.device)
        parts = (self.reconstruction, self.detail, self.noise, self.masks, self.open, self.face_tokens, self.condition)
        return BarePass([latents[rows] for latents in self.trajectory], *(part[rows] for part in parts))


class StableDiffusionResidualPipeline:
    """Makeup residuals by Stable Diffusion: R_m = D(z1) - D(z0), R_d = x - D(z0) (TinyBeauty, section 3.2).

    The bare pass (z0) and the style pass (z1) begin at the same latents and get the same noise at every step; outside
    the masks z1 is held at z0 throughout. Latents and differences are float32 in every precision of the networks.

    Args:
        model: the components; they are moved to the device and cast.
        conditions: what they are conditioned on.
        sampling: how the passes are walked.
        gains: (alpha / alpha_ref) w_r of the checkpoint, (4,).
        device: where it runs.
        dtype: number format of the U-Net (`precision.pick_dtype`); the VAE's follows from it
            (`precision.vae_dtype`).

    Raises:
        UserError: a scheduler that cannot do what ``sampling`` asks for.
    """

    def __init__(
        self,
        model: StableDiffusion,
        conditions: Conditions,
        sampling: Sampling,
        gains: torch.Tensor,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.device = device
        self.dtype = dtype
        self.sampling = sampling
        self._conditions = conditions
        self._gains = gains.to(device)
        # diffusers' own `to` warns of modules to keep in float32, though these two networks have none
        self._unet: Any = nn.Module.to(model.unet, device, dtype)
        self._vae: Any = nn.Module.to(model.vae, device, vae_dtype(dtype, device))
        gate_by_region(self._unet)
        if _memory(device) < SMALL_MEMORY:
            self._vae.enable_slicing()  # not tiling: its seams would show in a difference of decodes
        self._sampler, self._inverse = sampling.open(model.scheduler, device)
        side = ALIGNED_SIZE // model.downsampling
        self.noise_shape: tuple[int, ...] = (1 + sampling.steps, model.vae.config.latent_channels, side, side)

    def check_styles(self, styles: Sequence[Style]) -> None:
        """Check that every style has a condition.

        Raises:
            OptionError: a prompt is longer than CLIP reads, or no picture shows a style.
        """
        self._conditions.bare()
        for style in styles:
            for name in set(style.regions.values()):
                self._conditions.tokens(name)

    def gains(self) -> torch.Tensor:
        """The learned part of k_r, (4,)."""
        return self._gains

    @torch.no_grad()
    def encode_faces(
        self, source: torch.Tensor, masks: torch.Tensor, faces: Sequence[Face], noise: torch.Tensor
    ) -> BarePass:
        """The bare pass of N faces.

        Args:
            source: x (N, 3, H, W) in [0, 1], on the device like ``masks`` and ``noise``.
            masks: M_r (N, 4, H, W) in [0, 1].
            faces: not needed, the masks say where the regions are.
            noise: that of the start, then that of each step, (N, 1 + steps, 4, h, w).
        """
        face_tokens = self._conditions.face_tokens(source).to(self.device)
        bare = condition(self._conditions, face_tokens).to(self.device, self.dtype)
        clean = self._encode(source)
        if self._inverse is None:
            start = self._sampler.noised(clean, noise[:, 0])
        else:
            start = self._inverted(clean, self._inverse, bare)
        trajectory = self._bare_pass(start, bare, noise[:, 1:])
        reconstruction = self._decode(trajectory[-1])
        grid = clean.shape[-2:]
        return BarePass(
            trajectory,
            reconstruction,
            source - reconstruction,
            noise[:, 1:],
            F.interpolate(masks, size=grid, mode="area"),
            F.adaptive_max_pool2d(masks.amax(1, keepdim=True), grid) > 0,
            face_tokens,
            bare,
        )

    @torch.no_grad()
    def residuals(self, shared: BarePass, members: Sequence[int], styles: Sequence[Style]) -> Residuals:
        """R_m and R_d (M, 3, H, W) of M of the shared faces, one style each.

        With as many members as faces every network sees the shapes of the bare pass, so that a style equal to the
        bare condition gives R_m = 0, bit for bit.

        Args:
            shared: the bare pass.
            members: M indices of faces.
            styles: M styles.
        """
        bare = shared.of(members)
        styled = self._decode(self._style_pass(bare, self._worn(styles, bare)))
        return Residuals(styled - bare.reconstruction, bare.detail)

    # --- The two passes ---------------------------------------------------------------------------------

    def _bare_pass(self, start: torch.Tensor, tokens: torch.Tensor, noise: torch.Tensor) -> list[torch.Tensor]:
        """Latents z0 after every step, the start first."""
        walk = self._sampler.walk()
        trajectory = [start]
        for index, timestep in enumerate(self._sampler.timesteps):
            latents = trajectory[-1]
            prediction = self._unet_pass(walk.model_input(latents, timestep), timestep, tokens)
            trajectory.append(walk.step(prediction, timestep, latents, _of_step(noise, index)))
        return trajectory

    def _style_pass(self, bare: BarePass, worn: RegionConditions) -> torch.Tensor:
        """Latents z1 at the end."""
        walk = self._sampler.walk()
        latents = bare.trajectory[0]
        for index, timestep in enumerate(self._sampler.timesteps):
            prediction = self._predict(walk.model_input(latents, timestep), timestep, bare.condition, worn)
            painted = walk.step(prediction, timestep, latents, _of_step(bare.noise, index))
            latents = torch.where(bare.open, painted, bare.trajectory[index + 1])
        return latents

    def _inverted(self, clean: torch.Tensor, inverse: DDIMInverseScheduler, tokens: torch.Tensor) -> torch.Tensor:
        """The start from which the bare pass leads back to the source: DDIM run backwards, bare condition."""
        latents = clean
        for timestep in inverse.timesteps[: self.sampling.steps]:
            prediction = self._unet_pass(latents, timestep, tokens)
            latents = inverse.step(prediction, timestep, latents).prev_sample
        return latents

    # --- What the U-Net says ----------------------------------------------------------------------------

    def _predict(
        self, sample: torch.Tensor, timestep: torch.Tensor, bare: torch.Tensor, worn: RegionConditions
    ) -> torch.Tensor:
        """The style pass's prediction, guided away from the bare condition's; guidance 1 is none."""
        if self.sampling.conditioning == "attention":
            styled = self._unet_pass(sample, timestep, bare, worn)
        else:
            styled = self._sum(sample, timestep, worn)
        if self.sampling.guidance == 1:
            return styled
        unguided = self._unet_pass(sample, timestep, bare)  # not one pass of twice the rows: see residuals()
        return unguided + self.sampling.guidance * (styled - unguided)

    def _sum(self, sample: torch.Tensor, timestep: torch.Tensor, worn: RegionConditions) -> torch.Tensor:
        """sum_c (g_c / M) eps_c: a pass for each style, blended by region; where M = 0 the latents are locked."""
        total = worn.gates.sum(1, keepdim=True)
        weights = torch.where(total > 0, worn.gates / total, 0.0)
        first = blend = self._unet_pass(sample, timestep, worn.tokens[0])
        for style in range(1, len(worn.tokens)):
            other = self._unet_pass(sample, timestep, worn.tokens[style])
            blend = blend + weights[:, style, None] * (other - first)
        return blend

    def _unet_pass(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        tokens: torch.Tensor,
        regions: RegionConditions | None = None,
    ) -> torch.Tensor:
        prediction = self._unet(
            sample.to(self.dtype), timestep, tokens, cross_attention_kwargs={"regions": regions}
        ).sample
        return prediction.float()

    # --- Conditions and pictures ------------------------------------------------------------------------

    def _worn(self, styles: Sequence[Style], bare: BarePass) -> RegionConditions:
        """What each row wears where; a row with fewer styles than another repeats its first where nothing is."""
        names = [list(dict.fromkeys(style.regions[region] for region in REGIONS)) for style in styles]
        count = max(map(len, names))
        filled = [row + row[:1] * (count - len(row)) for row in names]
        tokens = [condition(self._conditions, bare.face_tokens, column) for column in zip(*filled, strict=True)]
        wears = [
            [[c < len(row) and style.regions[region] == row[c] for region in REGIONS] for c in range(count)]
            for row, style in zip(names, styles, strict=True)
        ]
        worn = torch.tensor(wears, device=self.device)[..., None, None] * bare.masks[:, None]  # (N, C, 4, h, w)
        first, *others = worn.unbind(2)
        return RegionConditions([each.to(self.device, self.dtype) for each in tokens], sum(others, first))

    def _encode(self, pictures: torch.Tensor) -> torch.Tensor:
        """Latents (N, 4, h, w) of pictures (N, 3, H, W) in [0, 1]: the mode, so that nothing here is random."""
        mode = self._vae.encode((2 * pictures - 1).to(self._vae.dtype)).latent_dist.mode()
        return mode.float() * self._vae.config.scaling_factor

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Pictures (N, 3, H, W) of latents (N, 4, h, w); not clipped, so that differences stay linear."""
        scaled = latents / self._vae.config.scaling_factor
        return self._vae.decode(scaled.to(self._vae.dtype)).sample.float() / 2 + 0.5


def _of_step(noise: torch.Tensor, index: int) -> torch.Tensor:
    """Noise of one of (N, steps, ...); a second-order scheduler has more timesteps than steps, and uses none."""
    return noise[:, min(index, noise.shape[1] - 1)]


def _memory(device: torch.device) -> int:
    """Bytes of a GPU's memory; 0 elsewhere, where a batch makes the VAE no faster."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0
