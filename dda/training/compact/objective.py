"""Objective of the compact model: the error of the denoised residual, composed and raw."""

import torch

from dda.models.compact.network import RESIDUAL_SCALE, CompactResidualModel, make_scheduler
from dda.models.residuals import ALPHA_REF
from dda.regions import REGIONS
from dda.training.compact.augmentation import CanonicalBatch

LAST_TIMESTEP_PROBABILITY = 0.5
"""Probability of the last timestep, pure noise: a few-step sampler takes its first and largest step from there."""

REGION_WEIGHTS = {"eyes": 6.0, "lips": 3.0, "skin": 1.0, "brows": 3.0}
"""Weight a_r of an error in each region: eyes are 4 % of a crop, and tell styles apart."""

RAW_ERROR_WEIGHT = 0.3
"""Weight of the error of the residual before composition, under the masks."""

OUTSIDE_MASK_WEIGHT = 6.0
"""Weight of that error outside the masks, where composition would hide a leak."""

SQUARED_ERROR_WEIGHT = 3.0
"""Weight of the squared error relative to the absolute error."""

CHROMA_ERROR_WEIGHT = 2.0
"""Weight of an error of the differences between channels: a wrong hue looks worse than a wrong lightness."""

MAKEUP_ERROR_WEIGHT = 4.0
"""How much the weight of a pixel grows with the strength of its makeup.

A network that is unsure where a line is minimizes its error by painting it at half its strength.
"""


def residual_loss(
    model: CompactResidualModel,
    batch: CanonicalBatch,
    generator: torch.Generator,
    bf16: bool,
) -> torch.Tensor:
    """Return the loss of a batch, a scalar.

    With the scaled true residual r = 2 (y - x), the prediction R of the model from x and r with noise, the region
    masks M_r, M = sum_r M_r, and the learned gains k_r, the errors are

        c = sum_r k_r M_r R - M r          of the composed residual,
        h = (c_R - c_B, c_G - c_R, c_B - c_G)   of its hue,
        e = R - [M > 0] r                  of the raw residual: outside the masks it should be 0,

    and the loss is the mean over pixels and channels of

        w p(c) + CHROMA_ERROR_WEIGHT w p(h) + v p(e),     p(z) = |z| + SQUARED_ERROR_WEIGHT z^2,

    with weights w = (1 + sum_r (a_r - 1) M_r) (1 + MAKEUP_ERROR_WEIGHT mean_channels |M r|), and v = RAW_ERROR_WEIGHT w
    where M > 0, OUTSIDE_MASK_WEIGHT elsewhere. Retouching outside the masks (teeth, hair) is not learned.

    Args:
        model: predicts the clean scaled residual.
        batch: pairs on the device of the model; a pair has its style in all regions.
        generator: draws noise and timesteps, on the CPU.
        bf16: run the network in bfloat16.
    """
    source, masks = batch.source, batch.masks
    scheduler = make_scheduler()
    residual = (batch.target - source) * RESIDUAL_SCALE
    noise = torch.randn(residual.shape, generator=generator).to(source.device)
    timesteps = sample_timesteps(len(residual), scheduler.config.num_train_timesteps, generator).to(source.device)
    noisy = scheduler.add_noise(residual, noise, timesteps)
    style_ids = batch.styles[:, None].expand(-1, len(REGIONS))
    with torch.autocast(source.device.type, torch.bfloat16, enabled=bf16):
        prediction = model(noisy, timesteps, source, masks, style_ids)
    prediction = prediction.float()
    total_mask = masks.sum(1, keepdim=True)
    is_inside = total_mask > 0
    masked_residual = total_mask * residual
    composed_error = model.alpha / ALPHA_REF * model.fgmm(prediction, masks) - masked_residual
    chroma_error = composed_error - composed_error.roll(1, dims=1)
    raw_error = prediction - is_inside * residual
    extra = torch.tensor([REGION_WEIGHTS[region] - 1 for region in REGIONS], device=masks.device)
    weight = 1 + torch.einsum("nrhw,r->nhw", masks, extra)[:, None]
    weight = weight * (1 + MAKEUP_ERROR_WEIGHT * masked_residual.abs().mean(1, keepdim=True))
    raw_weight = torch.where(is_inside, RAW_ERROR_WEIGHT * weight, OUTSIDE_MASK_WEIGHT)
    return (
        _weighted_mean(composed_error, weight)
        + CHROMA_ERROR_WEIGHT * _weighted_mean(chroma_error, weight)
        + _weighted_mean(raw_error, raw_weight)
    )


def sample_timesteps(count: int, timesteps: int, generator: torch.Generator) -> torch.Tensor:
    """Draw timesteps (N,): the last of ``timesteps`` with `LAST_TIMESTEP_PROBABILITY`, else uniformly."""
    uniform = torch.randint(0, timesteps, (count,), generator=generator)
    return torch.where(torch.rand(count, generator=generator) < LAST_TIMESTEP_PROBABILITY, timesteps - 1, uniform)


def _weighted_mean(error: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the weighted mean of p(error)."""
    return (weight * (error.abs() + SQUARED_ERROR_WEIGHT * error.square())).mean()
