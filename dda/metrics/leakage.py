"""Leakage: share of the color change that lies outside the makeup regions."""

import math

import torch
from torch.nn.functional import max_pool2d

from dda.metrics.color import compute_color_change
from dda.metrics.metric import Column, PairBatch

MIN_MASK_SUM = 0.1
"""Sum of the masks above which a pixel belongs to a region; below it is the outer end of a feathered edge."""

PARSING_TOLERANCE_PX = 4
"""Margin by which the regions are grown, on a side of 512: two parses of one face differ by one or two pixels."""


class Leakage:
    """Sum of CIEDE2000 outside the grown regions, divided by its sum over the whole picture.

    Shape (N,), range [0, 1], lower is better. NaN where no face was found or nothing changed.

    Example:
        >>> masks = torch.zeros(1, 4, 64, 64)
        >>> masks[:, 1, :, :32] = 1  # the left half is lips
        >>> source = torch.full((1, 3, 64, 64), 0.5)
        >>> oval, has_face = torch.ones(1, 1, 64, 64, dtype=torch.bool), torch.tensor([True])
        >>> batch = PairBatch(source, source + 0.1, None, masks, oval, has_face)  # 31 of 64 columns outside
        >>> round(float(Leakage()(batch)["leakage"]), 4)
        0.4844
    """

    columns = (
        Column(
            name="leakage",
            unit="",
            low=0,
            high=1,
            better="lower",
            about="Share of the color change that lies outside the regions (hair, eyeballs, teeth, background); where "
            "the same parser composed the pair it shows nothing but the variation of the masks.",
        ),
    )

    def __call__(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        """Return the share of each pair (N,)."""
        difference = compute_color_change(batch)
        outside = (difference * (1 - grow_regions(batch.total_mask))).sum((1, 2, 3))
        share = outside / difference.sum((1, 2, 3))  # 0 / 0 is NaN
        return {"leakage": torch.where(batch.has_face, share, math.nan)}


def grow_regions(total_mask: torch.Tensor) -> torch.Tensor:
    """Return 1 inside the grown regions and 0 outside, of the shape of the sum of masks (N, 1, H, W)."""
    radius = max(1, round(PARSING_TOLERANCE_PX * total_mask.shape[-1] / 512))
    rows = max_pool2d((total_mask > MIN_MASK_SUM).float(), (1, 2 * radius + 1), stride=1, padding=(0, radius))
    return max_pool2d(rows, (2 * radius + 1, 1), stride=1, padding=(radius, 0))
