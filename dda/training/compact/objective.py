"""What training asks of the compact model: the residual of a retouched pair, as it will be composed."""

import torch

from dda.models.compact.network import RESIDUAL_SCALE, CompactResidualModel, make_scheduler
from dda.models.residuals import ALPHA_REF
from dda.regions import REGIONS

PURE_NOISE = 0.5
"""Share of samples noised to the last timestep, where a few-step sampler spends its first and largest step."""

IMPORTANCE = {"eyes": 6.0, "lips": 3.0, "skin": 1.0, "brows": 3.0}
"""Weight of an error in each region: eyes are 4 % of a crop, and are what tells smokey eyes from none."""

RAW = 0.3
"""Weight of the residual as the network gives it, beside the composed one."""

OUTSIDE = 6.0
"""Weight of the raw residual where no mask reaches: nothing may leak there, although composition would hide it."""

SQUARED = 3.0
"""Weight of the squared error beside the absolute one."""

CAST = 2.0
"""Weight of an error in the differences between the channels, beside that in the channels: makeup that is a little too
light looks like makeup, gray shadow that is a little green does not."""

BOLD = 4.0
"""How much more an error counts where there is much makeup: a network unsure of a liner's place hedges, and paints
lids and lines at half their strength."""


def residual_loss(
    model: CompactResidualModel,
    source: torch.Tensor,
    target: torch.Tensor,
    masks: torch.Tensor,
    style_ids: torch.Tensor,
    generator: torch.Generator,
    bf16: bool,
) -> torch.Tensor:
    """Mean error of the denoised residual R of r = target - source, both composed and raw.

    e(c, w) + CAST e(Dc, w) + e(R - [M > 0] r, v) with c = sum_r k_r M_r R - M r, its differences between channels Dc
    (red - blue, green - red, blue - green), e(x, w) = mean w (|x| + SQUARED x^2) of the scaled residual,
    w = (1 + sum_r (IMPORTANCE_r - 1) M_r) (1 + BOLD mean |M r|) with the mean over the channels, and v = RAW w where
    M > 0, OUTSIDE elsewhere. What the retoucher changed where no mask reaches (teeth, hair) is not learnt.

    Args:
        model: predicts the clean scaled residual.
        source: (N, 3, S, S) in [0, 1], like ``target``.
        masks: (N, 4, S, S) in [0, 1].
        style_ids: (N, 4) int64.
        generator: of the noise and the timesteps, on the CPU.
        bf16: run the network in bfloat16.
    """
    scheduler = make_scheduler()
    residual = (target - source) * RESIDUAL_SCALE
    noise = torch.randn(residual.shape, generator=generator).to(source.device)
    timesteps = _draw_timesteps(len(residual), scheduler.config.num_train_timesteps, generator).to(source.device)
    noisy = scheduler.add_noise(residual, noise, timesteps)
    with torch.autocast(source.device.type, torch.bfloat16, enabled=bf16):
        prediction = model(noisy, timesteps, source, masks, style_ids)
    prediction = prediction.float()
    total = masks.sum(1, keepdim=True)
    wanted = total * residual
    composed = model.alpha / ALPHA_REF * model.fgmm(prediction, masks) - wanted
    extra = torch.tensor([IMPORTANCE[region] - 1 for region in REGIONS], device=masks.device)
    weight = 1 + torch.einsum("nrhw,r->nhw", masks, extra)[:, None]
    weight = weight * (1 + BOLD * wanted.abs().mean(1, keepdim=True))
    within = total > 0
    cast = composed - composed.roll(1, dims=1)
    raw = prediction - within * residual
    return (
        _error(composed, weight) + CAST * _error(cast, weight) + _error(raw, torch.where(within, RAW * weight, OUTSIDE))
    )


def _draw_timesteps(count: int, last: int, generator: torch.Generator) -> torch.Tensor:
    uniform = torch.randint(0, last, (count,), generator=generator)
    return torch.where(torch.rand(count, generator=generator) < PURE_NOISE, last - 1, uniform)


def _error(difference: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (weight * (difference.abs() + SQUARED * difference.square())).mean()
