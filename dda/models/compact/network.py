"""The compact residual diffusion network: a small pixel-space U-Net that denoises the makeup residual itself."""

import torch
from diffusers import ConfigMixin, DDIMScheduler, ModelMixin, UNet2DModel
from diffusers.configuration_utils import register_to_config
from torch import nn
from torch.nn import functional as F

from dda.faces.alignment import CANONICAL_POINTS, CROP_SIZE
from dda.models.fgmm import FineGrainedMakeupModule
from dda.models.residuals import ALPHA_REF
from dda.regions import REGIONS

RESIDUAL_SCALE = 2.0
"""The diffused sample is the residual times this, to bring its spread nearer to the noise's."""


class ResidualHead(nn.Module):
    """From coarse features to the residual of every pixel, guided by the picture.

    Makeup follows edges of the picture that a coarse grid cannot draw: a lip's border, a lash line. So the features
    become, pixel by pixel, an affine map of the source's own color (as in HDRNet, Gharbi et al., SIGGRAPH 2017).
    """

    def __init__(self, features: int, guides: int, width: int) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(features, width, 1)
        self.fine = nn.Conv2d(guides, width, 3, padding=1)
        self.layers = nn.Sequential(nn.SiLU(), nn.Conv2d(width, width, 1), nn.SiLU(), nn.Conv2d(width, 12, 1))

    def forward(self, features: torch.Tensor, guides: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """Residual (N, 3, S, S) of features (N, F, S/p, S/p), guides (N, G, S, S) and source (N, 3, S, S)."""
        coarse = F.interpolate(self.coarse(features), size=guides.shape[-2:], mode="bilinear", align_corners=False)
        maps = self.layers(coarse + self.fine(guides))
        linear, offset = maps[:, :9].unflatten(1, (3, 3)), maps[:, 9:]
        return offset + sum(linear[:, :, channel] * source[:, channel, None] for channel in range(3))


class CompactResidualModel(ModelMixin, ConfigMixin):
    """Denoises the makeup residual of a face, given the bare face, its region masks and a style in each region.

    Noisy residual, source and masks come in as canonical crops; patches of ``patch`` x ``patch`` pixels become
    channels, so that the U-Net works on a grid ``patch`` times coarser and still writes every pixel.

    Args:
        styles: names of the styles, in the order of their conditions.
        crop_size: side of the canonical crop in pixels.
        crop_points: where in it the two eye centers and the mouth center lie, as fractions of its side.
        patch: side of a patch in pixels.
        channels: width of the U-Net's levels, finest first.
        style_dim: length of a style's condition vector in each region.
        features: channels that the U-Net hands to the head.
        head_width: channels of the head.
    """

    @register_to_config
    def __init__(
        self,
        styles: tuple[str, ...] = (),
        crop_size: int = CROP_SIZE,
        crop_points: tuple[tuple[float, float], ...] = CANONICAL_POINTS,
        patch: int = 4,
        channels: tuple[int, ...] = (48, 64, 96, 128),
        style_dim: int = 16,
        features: int = 16,
        head_width: int = 16,
    ) -> None:
        super().__init__()
        pixels = patch * patch
        self.alpha = nn.Parameter(torch.tensor(ALPHA_REF))
        self.fgmm = FineGrainedMakeupModule(len(styles), style_dim)
        self.unet = UNet2DModel(
            sample_size=crop_size // patch,
            in_channels=pixels * (3 + 3 + len(REGIONS)) + style_dim,
            out_channels=features,
            block_out_channels=tuple(channels),
            layers_per_block=1,
            down_block_types=("DownBlock2D",) * len(channels),
            up_block_types=("UpBlock2D",) * len(channels),
            add_attention=False,
            norm_num_groups=8,
        )
        self.head = ResidualHead(features, 3 + 3 + len(REGIONS), head_width)

    def gains(self) -> torch.Tensor:
        """(alpha / alpha_ref) w_r, the learned part of k_r, (4,)."""
        return self.alpha / ALPHA_REF * self.fgmm.region_weights()

    def forward(
        self,
        noisy: torch.Tensor,
        timestep: torch.Tensor | int,
        source: torch.Tensor,
        masks: torch.Tensor,
        style_ids: torch.Tensor,
    ) -> torch.Tensor:
        """Predict the clean scaled residual (N, 3, S, S).

        Args:
            noisy: scaled residual with noise, (N, 3, S, S).
            timestep: one for all or one each, in [0, 1000).
            source: bare face in [0, 1], (N, 3, S, S).
            masks: (N, 4, S, S) in [0, 1].
            style_ids: (N, 4) int64, the style worn in each region.
        """
        patch = self.config.patch
        condition = self.fgmm.paint(style_ids, F.avg_pool2d(masks, patch))
        centerd = source * 2 - 1
        guides = torch.cat([noisy, centerd, masks], dim=1)
        coarse = torch.cat([F.pixel_unshuffle(guides, patch), condition], dim=1)
        return self.head(self.unet(coarse, timestep).sample, guides, centerd)


def make_scheduler() -> DDIMScheduler:
    """DDIM on a squared-cosine schedule that ends in pure noise, so that one step is already an honest sample.

    Lin et al., Common Diffusion Noise Schedules and Sample Steps are Flawed, WACV 2024: with leading spacing the
    first step of a few-step sampler is told a noise level that its input does not have.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
        clip_sample=False,
    )


@torch.no_grad()
def sample_residual(
    model: CompactResidualModel,
    source: torch.Tensor,
    masks: torch.Tensor,
    style_ids: torch.Tensor,
    noise: torch.Tensor,
    steps: int,
) -> torch.Tensor:
    """Makeup residuals R_m (N, 3, S, S) of canonical crops, by ``steps`` deterministic DDIM steps from ``noise``."""
    scheduler = make_scheduler()
    scheduler.set_timesteps(steps, device=source.device)
    sample = noise
    for timestep in scheduler.timesteps:
        prediction = model(sample, timestep, source, masks, style_ids)
        step = scheduler.step(prediction, timestep, sample)
        sample = step.prev_sample
    return step.pred_original_sample / RESIDUAL_SCALE  # where strides do not divide 1000, the last ends short of t = 0
