"""Lip normalization: targets of a style brought to one strength of lipstick, where faces are few.

In the lips of face i, the change by a retoucher is close to linear in logarithmic color,

    log t = A log s + b + d_i,   sum_i d_i = 0,

with source color s and target color t, the slope A and offset b of the look, and the deviation d_i of the face: how
much more or less it got. A is determined by thousands of pixels; a dependence of d_i on the face, by as many numbers as
there are faces. A network trained on few faces memorizes d_i and transfers it to faces that look alike.

So A is estimated from differences within each face, where d_i cancels (the fixed-effects or "within" estimator of
panel data, Wooldridge, Econometric Analysis of Cross Section and Panel Data, chapter 10), and d_i is removed from the
targets.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from dda.regions import REGIONS
from dda.training.compact.canonical_pair import CanonicalPair

LOG_OFFSET = 0.05
"""Added to colors in [0, 1] before the logarithm: it limits the noise of dark pixels."""

RIDGE_PENALTY = 1e-3
"""Ridge penalty on A - 1, as a variance of logarithmic color: a slope that is not determined is that of a tint, 1."""

LIPS = REGIONS.index("lips")


def normalize_lip_strength(pairs: Sequence[CanonicalPair], max_faces: int) -> list[CanonicalPair]:
    """Remove the deviations d_i from the targets of styles with at most ``max_faces`` faces; the order stays."""
    normalized = list(pairs)
    for style in {pair.style for pair in pairs}:
        indices = [i for i, pair in enumerate(pairs) if pair.style == style and pair.masks[LIPS].any()]
        if 1 < len(indices) <= max_faces:
            faces = [pairs[i] for i in indices]
            slope = fit_slope(faces)
            offsets = torch.stack([_mean_offset(pair, slope) for pair in faces])
            for i, deviation in zip(indices, offsets - offsets.mean(0), strict=True):
                normalized[i] = _remove_deviation(pairs[i], deviation)
    return normalized


def fit_slope(pairs: Sequence[CanonicalPair]) -> torch.Tensor:
    """Fit the slope A (3, 3) float64 of a style within its faces; each face has the same weight.

    Args:
        pairs: the style's pairs, all with visible lips.
    """
    identity = torch.eye(3, dtype=torch.float64)
    covariance, cross_covariance = torch.zeros_like(identity), torch.zeros_like(identity)
    for pair in pairs:
        source, target, weight = _lip_pixels(pair)
        centered = source - (weight * source).sum(1, keepdim=True)
        covariance += (weight * centered) @ centered.T / len(pairs)
        cross_covariance += (weight * (target - source)) @ centered.T / len(pairs)
    return identity + torch.linalg.solve(covariance + RIDGE_PENALTY * identity, cross_covariance.T).T


def _log_color(levels: torch.Tensor) -> torch.Tensor:
    return torch.log(levels.double() / 255 + LOG_OFFSET)


def _lip_pixels(pair: CanonicalPair) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the logarithmic colors of source and target, (3, P), and the weights of the pixels, (P,)."""
    weight = pair.masks[LIPS].double().flatten()
    return _log_color(pair.source).flatten(1), _log_color(pair.target).flatten(1), weight / weight.sum()


def _mean_offset(pair: CanonicalPair, slope: torch.Tensor) -> torch.Tensor:
    """Return b + d_i, (3,)."""
    source, target, weight = _lip_pixels(pair)
    return (weight * (target - slope @ source)).sum(1)


def _remove_deviation(pair: CanonicalPair, deviation: torch.Tensor) -> CanonicalPair:
    mask = pair.masks[LIPS].double() / 255
    color = (_log_color(pair.target) - mask * deviation[:, None, None]).exp() - LOG_OFFSET
    return replace(pair, target=(color.clamp(0, 1) * 255).round().to(torch.uint8))
