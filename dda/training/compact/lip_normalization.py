"""Levelling: seed faces on which a look was laid on more or less thickly, brought to one strength.

In the lips of face i a retoucher's change is close to linear in logarithmic color,

    log t = A log s + b + d_i,   sum_i d_i = 0,

with the look's slope A and offset b, and what this face got more or less of, d_i. Thousands of pixels tell A; how d_i
depends on the face is told by as many numbers as there are faces. A network that sees few faces learns each d_i by
heart, as a rule for whoever resembles that face. So A is fitted within faces (the "within" estimator of panel data,
to which d_i is nothing), and d_i is taken out of the targets.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from dda.regions import REGIONS
from dda.training.seed_pairs import SeedPair

BLACK = 0.05
"""Added to a color before its logarithm, to keep the noise of dark pixels small."""

RIDGE = 1e-3
"""Variance added to the colors of the lips: what they do not tell leaves the slope at that of a tint, A = 1."""

LIPS = REGIONS.index("lips")


def normalize_lip_strength(pairs: Sequence[SeedPair], few: int) -> list[SeedPair]:
    """The pairs in their order; in styles of ``few`` faces or fewer, the targets' lips are without their d_i."""
    level = list(pairs)
    for style in {pair.style for pair in pairs}:
        places = [i for i, pair in enumerate(pairs) if pair.style == style and pair.masks[LIPS].any()]
        if 1 < len(places) <= few:
            faces = [pairs[i] for i in places]
            slope = fit_slope(faces)
            offsets = torch.stack([_offset(pair, slope) for pair in faces])
            for i, departure in zip(places, offsets - offsets.mean(0), strict=True):
                level[i] = _without(pairs[i], departure)
    return level


def fit_slope(pairs: Sequence[SeedPair]) -> torch.Tensor:
    """A (3, 3) float64 of one style: d log t = A d log s between pixels of the same lips, each face counting alike.

    Args:
        pairs: of that style; each shows lips.
    """
    identity = torch.eye(3, dtype=torch.float64)
    covariance, change = torch.zeros_like(identity), torch.zeros_like(identity)
    for pair in pairs:
        source, target, weight = _lips(pair)
        spread = source - (weight * source).sum(1, keepdim=True)
        covariance += (weight * spread) @ spread.T / len(pairs)
        change += (weight * (target - source)) @ spread.T / len(pairs)
    return identity + torch.linalg.solve(covariance + RIDGE * identity, change.T).T


def _log_color(levels: torch.Tensor) -> torch.Tensor:
    return torch.log(levels.double() / 255 + BLACK)


def _lips(pair: SeedPair) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logarithmic colors of source and target (3, P), and each pixel's share of the lips (P,)."""
    weight = pair.masks[LIPS].double().flatten()
    return _log_color(pair.source).flatten(1), _log_color(pair.target).flatten(1), weight / weight.sum()


def _offset(pair: SeedPair, slope: torch.Tensor) -> torch.Tensor:
    """b + d_i (3,)."""
    source, target, weight = _lips(pair)
    return (weight * (target - slope @ source)).sum(1)


def _without(pair: SeedPair, departure: torch.Tensor) -> SeedPair:
    cover = pair.masks[LIPS].double() / 255
    level = (_log_color(pair.target) - cover * departure[:, None, None]).exp() - BLACK
    return replace(pair, target=(level.clamp(0, 1) * 255).round().to(torch.uint8))
