"""What LoRA training asks of the U-Net: the noise that leads from source to target, above all where makeup goes."""

from collections.abc import Callable

import torch
from diffusers.training_utils import compute_snr
from torch.nn import functional as F

from dda.regions import REGIONS
from dda.training.lora.base_model import Base
from dda.training.lora.batch import BARE, Batch

EMPHASIS = {"eyes": 2.0, "lips": 2.0, "skin": 1.0, "brows": 1.0}
"""Weight of a region's error: the small regions carry the finest makeup."""

OUTSIDE = 0.1
"""Weight of the error outside all regions: composition never shows it, but it keeps the face in its picture."""

CROPS = ("eyes", "lips")
"""RegionMasks that get a crop of their own."""

CROP_LOSS = 0.5
"""Weight of the crops beside the whole picture."""

MAX_SNR = 5.0
"""Signal-to-noise ratio above which an error of the noise counts less, as it then changes the picture less
(min-SNR weighting: Hang et al., Efficient Diffusion Training via Min-SNR Weighting Strategy, ICCV 2023)."""


def noise_loss(predict: Callable[..., torch.Tensor], base: Base, batch: Batch) -> torch.Tensor:
    """Loss (N,) of a batch: the masked noise loss, and CROP_LOSS times the crop loss, of the same prediction.

    Amplification begins at the noised source, z = a z_0 + s e, and shall end at the target z_1. Seen from there the
    noise is e' = e + (a / s) (z_0 - z_1), and a pass that predicts e' at every step keeps it: later steps see a' z_1 +
    s' e'. So the U-Net learns to predict e' there, (a / s) being of the timestep at which the pass began. Were it shown
    noised targets alone, it would never have seen what amplification asks of it: bare lips under the style's prompt.

    Args:
        predict: the base's U-Net, as it is or wrapped.
        base: encodes the pictures and noises them.
        batch: N rows.
    """
    latents = base.encode(batch.pictures)
    ratio = compute_snr(base.schedule, batch.starts).sqrt()
    noise = batch.noise + ratio[:, None, None, None] * _to_source(base, batch, latents)
    noisy = base.schedule.add_noise(latents, noise, batch.timesteps)
    (prediction,) = predict(noisy, batch.timesteps, base.tokens[batch.prompts], return_dict=False)
    error = (prediction.float() - base.wanted(latents, noise, batch.timesteps)).square().mean(1)
    error = error * base.weight(batch.timesteps, MAX_SNR)[:, None, None]
    masks = F.interpolate(batch.masks, size=error.shape[-2:], mode="area")
    return masked_loss(error, masks) + CROP_LOSS * crop_loss(error, masks)


def _to_source(base: Base, batch: Batch, latents: torch.Tensor) -> torch.Tensor:
    """z_0 - z_1 of each row, like ``latents`` z_1; a bare row is its own source, and not encoded again."""
    way = torch.zeros_like(latents)
    made_up = batch.prompts != BARE
    if made_up.any():
        way[made_up] = base.encode(batch.sources[made_up]) - latents[made_up]
    return way


def masked_loss(error: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Weighted mean of ``error`` (N, h, w) over each picture, (N,): w = sum_r EMPHASIS_r M_r + OUTSIDE (1 - M).

    Args:
        error: squared error of the prediction.
        masks: M_r (N, 4, h, w) in [0, 1].
    """
    return _weighted_mean(error[:, None], _weights(masks)[:, None])[:, 0]


def crop_loss(error: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Mean over the crops round the eyes and round the lips of the masked loss inside the crop, (N,).

    A crop is the smallest upright rectangle that holds a region. Lips are a fiftieth of a picture: here they count as
    much as everything else. A picture in which neither region is seen has no crop loss.

    Args:
        error: as for :func:`masked_loss`, like ``masks``.
    """
    boxes = bounding_boxes(masks[:, [REGIONS.index(region) for region in CROPS]])
    means = _weighted_mean(error[:, None], _weights(masks)[:, None] * boxes)
    seen = boxes.amax((2, 3))
    return (means * seen).sum(1) / seen.sum(1).clamp_min(1)


def bounding_boxes(masks: torch.Tensor) -> torch.Tensor:
    """1 inside the smallest upright rectangle that holds all of a mask (N, K, h, w), else 0; all 0 for an empty one."""
    columns, rows = (_between((masks > 0).any(axis)) for axis in (2, 3))
    return (rows[..., :, None] & columns[..., None, :]).to(masks.dtype)


def _between(hit: torch.Tensor) -> torch.Tensor:
    """From the first to the last True along the last axis."""
    since, until = hit.cumsum(-1), hit.flip(-1).cumsum(-1).flip(-1)
    return (since > 0) & (until > 0)


def _weights(masks: torch.Tensor) -> torch.Tensor:
    """w (N, h, w)."""
    emphasis = torch.tensor([EMPHASIS[region] for region in REGIONS], device=masks.device)
    return torch.einsum("nrhw,r->nhw", masks, emphasis) + OUTSIDE * (1 - masks.sum(1))


def _weighted_mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Over the picture; 0 where all weights are."""
    return (values * weights).sum((2, 3)) / weights.sum((2, 3)).clamp_min(torch.finfo(weights.dtype).tiny)
