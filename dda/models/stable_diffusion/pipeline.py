"""The pipeline of Stable Diffusion 1: a reconstruction pass and a style pass, and the difference of their pictures."""

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
from dda.models.stable_diffusion.conditions import Conditions, make_encoder_hidden_states
from dda.models.stable_diffusion.precision import pick_vae_dtype
from dda.models.stable_diffusion.pretrained import StableDiffusionComponents
from dda.models.stable_diffusion.region_attention import RegionConditions, set_region_attention
from dda.models.stable_diffusion.schedulers import Sampler
from dda.regions import REGIONS
from dda.styles import Style

MIN_BATCHED_VAE_MEMORY_BYTES = 16 * 2**30
"""GPU memory from which the VAE takes a whole batch at once; with less, it takes picture by picture (VAE slicing)."""


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
        return sampler, sampler.make_inverse_scheduler() if self.start == "inversion" else None


@dataclass(frozen=True)
class EncodedFaces:
    """The reconstruction pass of N faces, which all styles of a face share; the latents are h x w.

    Attributes:
        trajectory: latents z0 of the reconstruction pass before the first step and after each, (N, 4, h, w).
        reconstruction: D(z0) (N, 3, H, W); 0 is black, 1 is white.
        detail: R_d = x - D(z0), (N, 3, H, W).
        step_noise: noise of each step, (N, steps, 4, h, w).
        masks: M_r averaged over the cells of the latents, (N, 4, h, w).
        edit_mask: True in cells with a pixel of M > 0; elsewhere the style pass has the latents of the
            reconstruction pass, (N, 1, h, w) bool.
        face_embeds: embeddings of the faces themselves, (N, P, D).
        bare_hidden_states: ``encoder_hidden_states`` of the bare condition, (N, P + T, D).
    """

    trajectory: list[torch.Tensor]
    reconstruction: torch.Tensor
    detail: torch.Tensor
    step_noise: torch.Tensor
    masks: torch.Tensor
    edit_mask: torch.Tensor
    face_embeds: torch.Tensor
    bare_hidden_states: torch.Tensor

    def select(self, indices: Sequence[int]) -> "EncodedFaces":
        """Select some of the faces by index, in any order and with repeats."""
        rows = torch.as_tensor(list(indices), device=self.step_noise.device)
        return EncodedFaces(
            [latents[rows] for latents in self.trajectory],
            self.reconstruction[rows],
            self.detail[rows],
            self.step_noise[rows],
            self.masks[rows],
            self.edit_mask[rows],
            self.face_embeds[rows],
            self.bare_hidden_states[rows],
        )


class StableDiffusionResidualPipeline:
    """Stable Diffusion as a :class:`dda.models.residual_pipeline.ResidualPipeline` (TinyBeauty, section 3.2).

    R_m = D(z1) - D(z0) and R_d = x - D(z0), with the VAE's decoder D and the last latents z0 of the reconstruction
    pass and z1 of the style pass. Both passes are those of ``StableDiffusionImg2ImgPipeline`` of diffusers, from the
    same latents and with the same noise at every step. Outside the masks, z1 is replaced by z0 after every step
    (Blended Latent Diffusion: Avrahami et al., SIGGRAPH 2023). Latents and differences are float32 in every precision
    of the networks.

    Args:
        components: the base model; its networks are moved to the device and cast.
        conditions: encoder of the styles.
        sampling: the passes' options.
        gains: (alpha / alpha_ref) w_r of the checkpoint, (4,).
        device: where the pipeline runs.
        dtype: dtype of the U-Net (`precision.pick_dtype`), from which the VAE's follows (`precision.pick_vae_dtype`).

    Raises:
        OptionError: a scheduler that cannot do what ``sampling`` asks for.
    """

    def __init__(
        self,
        components: StableDiffusionComponents,
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
        # nn.Module's `to`: the one of diffusers warns of modules to keep in float32, which these networks do not have.
        self._unet: Any = nn.Module.to(components.unet, device, dtype)
        self._vae: Any = nn.Module.to(components.vae, device, pick_vae_dtype(dtype, device))
        set_region_attention(self._unet)
        if _gpu_memory_bytes(device) < MIN_BATCHED_VAE_MEMORY_BYTES:
            self._vae.enable_slicing()  # not tiling: its seams would show in a difference of decoded pictures
        self._sampler, self._inverse_scheduler = sampling.open(components.scheduler_config, device)
        latent_size = ALIGNED_SIZE // components.vae_scale_factor
        latent_channels = components.vae.config.latent_channels
        self.noise_shape: tuple[int, ...] = (1 + sampling.steps, latent_channels, latent_size, latent_size)

    def check_styles(self, styles: Sequence[Style]) -> None:
        """Check that every style has a condition.

        Raises:
            OptionError: a prompt has more tokens than CLIP reads, or a style has no picture.
        """
        self._conditions.encode_bare_condition()
        for style in styles:
            for name in set(style.regions.values()):
                self._conditions.encode_style(name)

    def gains(self) -> torch.Tensor:
        """Return (alpha / alpha_ref) w_r, the learned factor of the gains k_r, (4,)."""
        return self._gains

    @torch.no_grad()
    def encode_faces(
        self, source: torch.Tensor, masks: torch.Tensor, faces: Sequence[Face], noise: torch.Tensor
    ) -> EncodedFaces:
        """Run the reconstruction pass of N faces.

        Args:
            source: x (N, 3, H, W) in [0, 1], on the device like ``masks`` and ``noise``.
            masks: M_r (N, 4, H, W) in [0, 1].
            faces: not used; the masks say where the regions are.
            noise: of the start, then of each step, (N, 1 + steps, 4, h, w).
        """
        # 1. Encode the bare condition
        face_embeds = self._conditions.encode_faces(source).to(self.device)
        bare_hidden_states = make_encoder_hidden_states(self._conditions, face_embeds).to(self.device, self.dtype)
        # 2. Encode the source and prepare the start of both passes
        latents = self.encode_latents(source)
        if self._inverse_scheduler is None:
            start = self._sampler.add_noise(latents, noise[:, 0])
        else:
            start = self._invert(latents, self._inverse_scheduler, bare_hidden_states)
        # 3. Denoise and decode
        step_noise = noise[:, 1:]
        trajectory = self._denoise_bare(start, bare_hidden_states, step_noise)
        reconstruction = self.decode_latents(trajectory[-1])
        # 4. Reduce the masks to the latents
        latent_size = latents.shape[-2:]
        return EncodedFaces(
            trajectory,
            reconstruction,
            source - reconstruction,
            step_noise,
            F.interpolate(masks, size=latent_size, mode="area"),
            F.adaptive_max_pool2d(masks.amax(1, keepdim=True), latent_size) > 0,
            face_embeds,
            bare_hidden_states,
        )

    @torch.no_grad()
    def residuals(self, encoded: EncodedFaces, indices: Sequence[int], styles: Sequence[Style]) -> Residuals:
        """Run the style pass of M of the encoded faces in one style each; return R_m and R_d (M, 3, H, W).

        If M is the number of encoded faces, every network has inputs of the same shapes as in the reconstruction pass,
        so that a style equal to the bare condition gives R_m = 0, bit for bit.

        Args:
            encoded: N faces.
            indices: M indices of faces, repeats allowed.
            styles: M styles.
        """
        # 1. Select the rows and encode their styles
        encoded = encoded.select(indices)
        regions = self._encode_styles(styles, encoded)
        # 2. Denoise and decode
        styled = self.decode_latents(self._denoise_styled(encoded, regions))
        # 3. Subtract the reconstruction
        return Residuals(styled - encoded.reconstruction, encoded.detail)

    @torch.no_grad()
    def encode_latents(self, pictures: torch.Tensor) -> torch.Tensor:
        """Encode pictures (N, 3, H, W) in [0, 1] as scaled latents (N, 4, h, w).

        The mode of the VAE's distribution, not a sample: only the given noise is random.
        """
        mode = self._vae.encode((2 * pictures - 1).to(self._vae.dtype)).latent_dist.mode()
        return mode.float() * self._vae.config.scaling_factor

    @torch.no_grad()
    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode scaled latents (N, 4, h, w) to pictures (N, 3, H, W); not clipped, for a difference of pictures."""
        unscaled = latents / self._vae.config.scaling_factor
        return self._vae.decode(unscaled.to(self._vae.dtype)).sample.float() / 2 + 0.5

    # --- The two passes ---------------------------------------------------------------------------------

    def _denoise_bare(
        self, start: torch.Tensor, hidden_states: torch.Tensor, step_noise: torch.Tensor
    ) -> list[torch.Tensor]:
        """Return the latents z0 before the first step and after each."""
        scheduler = self._sampler.begin_pass()
        trajectory = [start]
        for index, timestep in enumerate(self._sampler.timesteps):
            latents = trajectory[-1]
            model_input = scheduler.scale_model_input(latents, timestep)
            prediction = self._predict_noise(model_input, timestep, hidden_states)
            trajectory.append(scheduler.step(prediction, timestep, latents, _select_noise(step_noise, index)))
        return trajectory

    def _denoise_styled(self, encoded: EncodedFaces, regions: RegionConditions) -> torch.Tensor:
        """Return the latents z1 after the last step."""
        scheduler = self._sampler.begin_pass()
        latents = encoded.trajectory[0]
        for index, timestep in enumerate(self._sampler.timesteps):
            model_input = scheduler.scale_model_input(latents, timestep)
            prediction = self._predict_guided_noise(model_input, timestep, encoded.bare_hidden_states, regions)
            styled = scheduler.step(prediction, timestep, latents, _select_noise(encoded.step_noise, index))
            latents = torch.where(encoded.edit_mask, styled, encoded.trajectory[index + 1])
        return latents

    def _invert(
        self, latents: torch.Tensor, scheduler: DDIMInverseScheduler, hidden_states: torch.Tensor
    ) -> torch.Tensor:
        """Return the noisy latents from which the reconstruction pass leads to ``latents`` (DDIM inversion)."""
        for timestep in scheduler.timesteps[: self.sampling.steps]:
            prediction = self._predict_noise(latents, timestep, hidden_states)
            latents = scheduler.step(prediction, timestep, latents).prev_sample
        return latents

    # --- Predictions of the U-Net -----------------------------------------------------------------------

    def _predict_guided_noise(
        self,
        model_input: torch.Tensor,
        timestep: torch.Tensor,
        bare_hidden_states: torch.Tensor,
        regions: RegionConditions,
    ) -> torch.Tensor:
        """Predict the noise under the styles, with classifier-free guidance (Ho & Salimans, arXiv 2207.12598)."""
        if self.sampling.conditioning == "attention":
            styled = self._predict_noise(model_input, timestep, bare_hidden_states, regions)
        else:
            styled = self._blend_predictions(model_input, timestep, regions)
        if self.sampling.guidance == 1:
            return styled
        # A pass of its own, not twice the rows in one: the shapes must be those of the reconstruction pass.
        unconditional = self._predict_noise(model_input, timestep, bare_hidden_states)
        return unconditional + self.sampling.guidance * (styled - unconditional)

    def _blend_predictions(
        self, model_input: torch.Tensor, timestep: torch.Tensor, regions: RegionConditions
    ) -> torch.Tensor:
        """Blend the predictions under each style by its masks, sum_c (g_c / M) eps_c with M = sum_c g_c.

        As MultiDiffusion (Bar-Tal et al., ICML 2023) blends regions. Where M = 0 the latents do not depend on it.
        """
        total = regions.masks.sum(1, keepdim=True)
        weights = torch.where(total > 0, regions.masks / total, 0.0)
        first = blended = self._predict_noise(model_input, timestep, regions.embeds[0])
        for index in range(1, len(regions.embeds)):
            other = self._predict_noise(model_input, timestep, regions.embeds[index])
            blended = blended + weights[:, index, None] * (other - first)
        return blended

    def _predict_noise(
        self,
        model_input: torch.Tensor,
        timestep: torch.Tensor,
        hidden_states: torch.Tensor,
        regions: RegionConditions | None = None,
    ) -> torch.Tensor:
        prediction = self._unet(
            model_input.to(self.dtype), timestep, hidden_states, cross_attention_kwargs={"regions": regions}
        ).sample
        return prediction.float()

    def _encode_styles(self, styles: Sequence[Style], encoded: EncodedFaces) -> RegionConditions:
        """Encode the styles of each row, and the masks of the regions that each style paints.

        A row with fewer styles than another repeats its first one, with masks of 0.
        """
        names = [list(dict.fromkeys(style.regions[region] for region in REGIONS)) for style in styles]
        count = max(map(len, names))
        padded = [row + row[:1] * (count - len(row)) for row in names]
        embeds = [
            make_encoder_hidden_states(self._conditions, encoded.face_embeds, column)
            for column in zip(*padded, strict=True)
        ]
        is_painted = [
            [[c < len(row) and style.regions[region] == row[c] for region in REGIONS] for c in range(count)]
            for row, style in zip(names, styles, strict=True)
        ]
        region_masks = torch.tensor(is_painted, device=self.device)[..., None, None] * encoded.masks[:, None]
        first, *others = region_masks.unbind(2)  # of (N, C, 4, h, w)
        return RegionConditions([each.to(self.device, self.dtype) for each in embeds], sum(others, first))


def _select_noise(step_noise: torch.Tensor, index: int) -> torch.Tensor:
    """Return the noise of a step; a second-order scheduler has more timesteps than steps, and uses no noise."""
    return step_noise[:, min(index, step_noise.shape[1] - 1)]


def _gpu_memory_bytes(device: torch.device) -> int:
    """Return the memory of a GPU; 0 for other devices, on which the VAE is no faster by batches."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0
