"""The network of the compact model and its sampling: a pixel-space U-Net that denoises the makeup residual itself."""

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
"""Factor of the residual before diffusion, which brings its standard deviation nearer to the noise's."""


class ResidualHead(nn.Module):
    """Head that predicts a local affine color transform of the source from coarse features and fine guides.

    HDRNet (Gharbi et al., Deep Bilateral Learning for Real-Time Image Enhancement, SIGGRAPH 2017) with a convolution
    of the guides in place of its bilateral grid. Makeup follows edges that the coarse grid of the U-Net cannot
    resolve, such as a lip's border or a lash line.

    Args:
        features: channels F of the U-Net's output.
        guides: channels G of the guides.
        width: channels of the hidden layers.
    """

    def __init__(self, features: int, guides: int, width: int) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(features, width, 1)
        self.fine = nn.Conv2d(guides, width, 3, padding=1)
        self.layers = nn.Sequential(nn.SiLU(), nn.Conv2d(width, width, 1), nn.SiLU(), nn.Conv2d(width, 12, 1))

    def forward(self, features: torch.Tensor, guides: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
        """Return the residual (N, 3, S, S).

        Args:
            features: output of the U-Net, (N, F, S/p, S/p) for patches of p pixels.
            guides: (N, G, S, S).
            source: (N, 3, S, S) in [-1, 1].
        """
        coarse = F.interpolate(self.coarse(features), size=guides.shape[-2:], mode="bilinear", align_corners=False)
        coefficients = self.layers(coarse + self.fine(guides))
        linear, offset = coefficients[:, :9].unflatten(1, (3, 3)), coefficients[:, 9:]
        return offset + sum(linear[:, :, channel] * source[:, channel, None] for channel in range(3))


class CompactResidualModel(ModelMixin, ConfigMixin):
    """Denoiser of the makeup residual of a face, given its source, its region masks and the style of each region.

    A ``UNet2DModel`` of diffusers on canonical crops. Patches are moved to channels (pixel unshuffle, the inverse of
    Shi et al., CVPR 2016), so that the U-Net works on a grid ``patch`` times coarser; `ResidualHead` returns to full
    resolution.

    Args:
        styles: names of the styles, in the order of their embeddings.
        crop_size: S, side of the canonical crop in pixels.
        crop_points: positions of the two eye centers and the mouth center in the crop, as fractions of its side.
        patch: side of a patch in pixels.
        channels: channels of the U-Net's blocks, finest first.
        style_dim: length of a style's embedding in each region.
        features: output channels of the U-Net.
        head_width: channels of the head's hidden layers.
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
        """Return (alpha / alpha_ref) w_r, the learned factor of the gains k_r, (4,)."""
        return self.alpha / ALPHA_REF * self.fgmm.region_weights()

    def forward(
        self,
        noisy: torch.Tensor,
        timestep: torch.Tensor | int,
        source: torch.Tensor,
        masks: torch.Tensor,
        style_ids: torch.Tensor,
    ) -> torch.Tensor:
        """Predict the residual without noise, times `RESIDUAL_SCALE`, (N, 3, S, S).

        Args:
            noisy: residual times `RESIDUAL_SCALE`, with noise, (N, 3, S, S).
            timestep: one for all rows or one for each, in [0, 1000).
            source: (N, 3, S, S) in [0, 1].
            masks: (N, 4, S, S) in [0, 1].
            style_ids: index of the style in each region, (N, 4) int64.
        """
        patch = self.config.patch
        style_map = self.fgmm.embed_styles(style_ids, F.avg_pool2d(masks, patch))
        centered = source * 2 - 1
        guides = torch.cat([noisy, centered, masks], dim=1)
        unet_input = torch.cat([F.pixel_unshuffle(guides, patch), style_map], dim=1)
        return self.head(self.unet(unet_input, timestep).sample, guides, centered)


def make_scheduler() -> DDIMScheduler:
    """Make a DDIM scheduler with a squared-cosine schedule, zero terminal SNR and trailing timesteps.

    Lin et al., Common Diffusion Noise Schedules and Sample Steps are Flawed, WACV 2024: sampling starts from pure
    noise, and the first timestep must have that noise level, above all where the steps are few.
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
    """Sample makeup residuals R_m (N, 3, S, S) of canonical crops by DDIM (Song et al., ICLR 2021, eta = 0).

    Args:
        model: the denoiser.
        source: (N, 3, S, S) in [0, 1].
        masks: (N, 4, S, S) in [0, 1].
        style_ids: index of the style in each region, (N, 4) int64.
        noise: standard normal, (N, 3, S, S).
        steps: denoising steps.
    """
    scheduler = make_scheduler()
    scheduler.set_timesteps(steps, device=source.device)
    sample = noise
    for timestep in scheduler.timesteps:
        prediction = model(sample, timestep, source, masks, style_ids)
        step = scheduler.step(prediction, timestep, sample)
        sample = step.prev_sample
    # Not prev_sample: if the number of steps does not divide 1000, the last step ends before t = 0.
    return step.pred_original_sample / RESIDUAL_SCALE
