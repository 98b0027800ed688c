"""Leakage: the share of the change that lies where no makeup belongs."""

import math

import torch
from torch.nn.functional import max_pool2d

from dda.metrics.color import compute_color_change
from dda.metrics.metric import Column, PairBatch

MIN_MASK_SUM = 0.1
"""A pixel whose masks sum to more than this may wear makeup: less is the far end of a feather."""

PARSING_TOLERANCE_PX = 4
"""Pixels by which those are grown, on a side of 512: two parses of one face differ by one or two."""


class Leakage:
    """Sum of CIEDE2000 outside the grown support of the masks, over its sum in the whole picture."""

    columns = (
        Column(
            name="leakage",
            unit="",
            low=0,
            high=1,
            better="lower",
            about="Share of the color change that lies outside the regions (hair, eyeballs, teeth, background); where "
            "the same parser composed the pair it shows nothing but the wobble of the masks.",
        ),
    )

    def __call__(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        """Return the share (N,) in [0, 1]; NaN where there is no face, or nothing changed."""
        difference = compute_color_change(batch)
        outside = (difference * (1 - allowed_area(batch.support))).sum((1, 2, 3))
        share = outside / difference.sum((1, 2, 3))  # 0 / 0 is NaN
        return {"leakage": torch.where(batch.has_face, share, math.nan)}


def allowed_area(support: torch.Tensor) -> torch.Tensor:
    """Return 1 where makeup belongs and 0 elsewhere (N, 1, H, W), from M of the same shape."""
    radius = max(1, round(PARSING_TOLERANCE_PX * support.shape[-1] / 512))
    across = max_pool2d((support > MIN_MASK_SUM).float(), (1, 2 * radius + 1), stride=1, padding=(0, radius))
    return max_pool2d(across, (2 * radius + 1, 1), stride=1, padding=(radius, 0))
