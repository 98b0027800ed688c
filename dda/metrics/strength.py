"""Makeup strength: how much the color of each region changed, in CIEDE2000."""

import torch

from dda.metrics.color import compute_color_change
from dda.metrics.metric import Column, PairBatch, weighted_mean
from dda.regions import REGIONS


class Strength:
    """Mean CIEDE2000 between target and source under each region's mask, and under the sum of all masks.

    Shape (N,), in dE00, range [0, inf), best inside a band. NaN where the face lacks the region.

    Example:
        >>> masks = torch.zeros(1, 4, 16, 16)
        >>> masks[:, 1, 8:] = 1  # the lower half is lips
        >>> source = torch.full((1, 3, 16, 16), 0.5)
        >>> target = source + 0.1 * masks[:, 1:2]
        >>> oval, has_face = torch.ones(1, 1, 16, 16, dtype=torch.bool), torch.tensor([True])
        >>> values = Strength()(PairBatch(source, target, None, masks, oval, has_face))
        >>> round(float(values["strength_lips"]), 2), float(values["strength_eyes"])
        (8.86, nan)
    """

    columns = tuple(
        Column(
            name=f"strength{suffix}",
            unit="dE00",
            low=0,
            high=float("inf"),
            better="band",
            about=f"Mean color difference of target to source {where}; 0 is no makeup and about 1 is just "
            "noticeable, but it cannot tell a good color from a bad one.",
        )
        for suffix, where in (("", "under all regions"), *((f"_{r}", f"in the {r}") for r in REGIONS))
    )

    def __call__(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        """Return the strength of each pair (N,), by column."""
        difference = compute_color_change(batch)
        by_region = {f"strength_{region}": weighted_mean(difference, batch.region_mask(region)) for region in REGIONS}
        return {"strength": weighted_mean(difference, batch.total_mask), **by_region}
