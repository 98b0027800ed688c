"""Objective of LoRA training: the noise that leads from the source to the target, weighted by region."""

from collections.abc import Callable

import torch
from diffusers.training_utils import compute_snr
from torch.nn import functional as F

from dda.regions import REGIONS
from dda.training.lora.base_model import LoraBaseModel
from dda.training.lora.batch import BARE_PROMPT_ID, Batch

REGION_WEIGHTS = {"eyes": 2.0, "lips": 2.0, "skin": 1.0, "brows": 1.0}
"""Weight a_r of an error in each region: the small regions have the finest makeup."""

OUTSIDE_MASK_WEIGHT = 0.1
"""Weight a_0 of an error outside the masks: composition hides it, but it keeps the face in its surroundings."""

CROPPED_REGIONS = ("eyes", "lips")
"""Regions with a crop of their own in the crop loss."""

CROP_LOSS_WEIGHT = 0.5
"""Weight of the crop loss relative to the masked loss."""

MAX_SNR = 5.0
"""Signal-to-noise ratio that Min-SNR weighting clips at; gamma = 5 of Hang et al., ICCV 2023."""


def noise_loss(predict: Callable[..., torch.Tensor], base: LoraBaseModel, batch: Batch) -> torch.Tensor:
    """Return the loss (N,) of a batch: the masked loss plus `CROP_LOSS_WEIGHT` times the crop loss.

    With the latents z_0 of the source and z_1 of the target, noise e, and alpha_t, sigma_t of the noise schedule,
    amplification starts at the noised source of timestep s and should end at z_1. As a noised target, this start is

        alpha_s z_0 + sigma_s e = alpha_s z_1 + sigma_s e',     e' = e + (alpha_s / sigma_s) (z_0 - z_1).

    A deterministic pass (DDIM) that predicts e' at every step keeps it, and comes through alpha_t z_1 + sigma_t e' to
    z_1. So these are the inputs of the U-Net, and e' is what it should predict (or the velocity alpha_t e' -
    sigma_t z_1). A bare row has z_1 = z_0 and e' = e, the objective of DDPM. Noised targets with e alone would never
    show the U-Net a bare face with the prompt of a style, where amplification starts.

    Args:
        predict: the U-Net of the base, as it is or wrapped for several devices.
        base: encodes the images and noises their latents.
        batch: N rows.
    """
    latents = base.encode(batch.images)
    ratio = compute_snr(base.noise_scheduler, batch.start_timesteps).sqrt()
    noise = batch.noise + ratio[:, None, None, None] * _source_offset(base, batch, latents)
    noisy = base.noise_scheduler.add_noise(latents, noise, batch.timesteps)
    (prediction,) = predict(noisy, batch.timesteps, base.prompt_embeds[batch.prompt_ids], return_dict=False)
    error = (prediction.float() - base.prediction_target(latents, noise, batch.timesteps)).square().mean(1)
    error = error * base.snr_weight(batch.timesteps, MAX_SNR)[:, None, None]
    masks = F.interpolate(batch.masks, size=error.shape[-2:], mode="area")
    return masked_loss(error, masks) + CROP_LOSS_WEIGHT * crop_loss(error, masks)


def masked_loss(error: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return the weighted mean of an error over each image, (N,), with weights w = sum_r a_r M_r + a_0 (1 - M).

    Args:
        error: squared error of the prediction, (N, h, w).
        masks: M_r (N, 4, h, w) in [0, 1].
    """
    return _weighted_mean(error[:, None], _pixel_weights(masks)[:, None])[:, 0]


def crop_loss(error: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Return the mean of the masked losses inside the bounding boxes of eyes and lips, (N,); 0 if both are hidden.

    Lips are 2 % of an image: in the crop loss they count as much as everything else.

    Args:
        error: squared error of the prediction, (N, h, w).
        masks: M_r (N, 4, h, w) in [0, 1].
    """
    boxes = draw_bounding_boxes(masks[:, [REGIONS.index(region) for region in CROPPED_REGIONS]])
    losses = _weighted_mean(error[:, None], _pixel_weights(masks)[:, None] * boxes)
    is_visible = boxes.amax((2, 3))
    return (losses * is_visible).sum(1) / is_visible.sum(1).clamp_min(1)


def draw_bounding_boxes(masks: torch.Tensor) -> torch.Tensor:
    """Return the bounding box of each mask, as a mask (N, K, h, w) of 0 and 1; all 0 for an empty mask."""
    columns, rows = (_fill_between((masks > 0).any(axis)) for axis in (2, 3))
    return (rows[..., :, None] & columns[..., None, :]).to(masks.dtype)


def _source_offset(base: LoraBaseModel, batch: Batch, latents: torch.Tensor) -> torch.Tensor:
    """Return z_0 - z_1 of each row; a bare row is its own source, and is not encoded again."""
    offset = torch.zeros_like(latents)
    is_made_up = batch.prompt_ids != BARE_PROMPT_ID
    if is_made_up.any():
        offset[is_made_up] = base.encode(batch.source_images[is_made_up]) - latents[is_made_up]
    return offset


def _fill_between(is_used: torch.Tensor) -> torch.Tensor:
    """Mark everything from the first to the last True along the last axis."""
    from_first, to_last = is_used.cumsum(-1), is_used.flip(-1).cumsum(-1).flip(-1)
    return (from_first > 0) & (to_last > 0)


def _pixel_weights(masks: torch.Tensor) -> torch.Tensor:
    """Return w (N, h, w)."""
    region_weights = torch.tensor([REGION_WEIGHTS[region] for region in REGIONS], device=masks.device)
    return torch.einsum("nrhw,r->nhw", masks, region_weights) + OUTSIDE_MASK_WEIGHT * (1 - masks.sum(1))


def _weighted_mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the weighted mean over the image; 0 if all weights are 0."""
    return (values * weights).sum((2, 3)) / weights.sum((2, 3)).clamp_min(torch.finfo(weights.dtype).tiny)
