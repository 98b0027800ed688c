"""The law by which a look colours the lips, where too few faces tell it for a network to find it.

In the lips of face i a retoucher's change is close to linear in logarithmic colour,

    log t = A log s + b + d_i,   sum_i d_i = 0,

with the look's slope A and offset b, and what the retoucher did more or less on this face, d_i. Thousands of pixels
tell A; how d_i depends on the face is told by as many numbers as there are faces. A network that sees few faces learns
each d_i by heart, as a rule for whoever looks like that face. So A is fitted within faces (the "within" estimator of
panel data), and d_i is taken out of the targets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from dda.styles import REGIONS
from dda.training.seed_pairs import SeedPair

LIPS = REGIONS.index("lips")

FEW = 10
"""Up to so many faces of a style are too few to tell how its strength depends on the face."""

BLACK = 0.05
"""Added to a colour before its logarithm, to keep the noise of dark pixels small."""

RIDGE = 1e-3
"""Variance added to the colours of the lips: what they do not tell leaves the slope at that of a tint, A = 1."""


def log_colour(colour: torch.Tensor) -> torch.Tensor:
    """log(x + BLACK) of colours in [0, 1]."""
    return torch.log(colour + BLACK)


def from_log_colour(logarithm: torch.Tensor) -> torch.Tensor:
    """The colours in [0, 1] of :func:`log_colour`, clipped."""
    return (logarithm.exp() - BLACK).clamp(0, 1)


def colour_laws(pairs: Sequence[SeedPair]) -> dict[int, torch.Tensor]:
    """The slope A (3, 3) of each style that has :data:`FEW` faces or fewer, by the style's index."""
    return {style: slope(group) for style, group in _by_style(pairs).items() if len(group) <= FEW}


def levelled(pairs: Sequence[SeedPair], laws: Mapping[int, torch.Tensor]) -> list[SeedPair]:
    """The pairs, the targets of the styles that have a law without their faces' departures d_i from it."""
    taken_out = {}
    for style, group in _by_style(pairs).items():
        if style in laws:
            offsets = torch.stack([_offset(pair, laws[style]) for pair in group])
            taken_out.update({id(pair): d for pair, d in zip(group, offsets - offsets.mean(0), strict=True)})
    return [_without(pair, taken_out[id(pair)]) if id(pair) in taken_out else pair for pair in pairs]


def slope(pairs: Sequence[SeedPair]) -> torch.Tensor:
    """A (3, 3) float32 of one style: d log t = A d log s between pixels of the same lips, each face counting alike."""
    covariance, change = torch.zeros(3, 3).double(), torch.zeros(3, 3).double()
    for pair in pairs:
        source, target, weight = _lips(pair)
        spread = source - (weight * source).sum(1, keepdim=True)
        covariance += (weight * spread) @ spread.T / len(pairs)
        change += (weight * (target - source)) @ spread.T / len(pairs)
    identity = torch.eye(3).double()
    return (identity + torch.linalg.solve(covariance + RIDGE * identity, change.T).T).float()


def _by_style(pairs: Sequence[SeedPair]) -> dict[int, list[SeedPair]]:
    return {style: [p for p in pairs if p.style == style] for style in sorted({pair.style for pair in pairs})}


def _lips(pair: SeedPair) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logarithmic colours of source and target (3, P) and each pixel's share of the lips (P,), in float64."""
    source, target = (log_colour(levels.double() / 255).flatten(1) for levels in (pair.source, pair.target))
    weight = pair.masks[LIPS].double().flatten()
    return source, target, weight / weight.sum().clamp(min=1)


def _offset(pair: SeedPair, slope: torch.Tensor) -> torch.Tensor:
    """b + d_i (3,)."""
    source, target, weight = _lips(pair)
    return (weight * (target - slope.double() @ source)).sum(1)


def _without(pair: SeedPair, departure: torch.Tensor) -> SeedPair:
    cover = pair.masks[LIPS].double() / 255
    level = from_log_colour(log_colour(pair.target.double() / 255) - cover * departure[:, None, None])
    return replace(pair, target=(level * 255).round().to(torch.uint8))
