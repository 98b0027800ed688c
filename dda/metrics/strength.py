"""Makeup strength: how far each region's color moved, in CIEDE2000."""

import torch

from dda.metrics.color import change
from dda.metrics.metric import Column, PairBatch, weighted_mean
from dda.regions import REGIONS


class Strength:
    """Mean CIEDE2000 of target to source under each region's mask, and under their sum M."""

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
        """Each (N,) in dE00; NaN where the face lacks the region."""
        difference = change(batch)
        by_region = {f"strength_{region}": weighted_mean(difference, batch.mask(region)) for region in REGIONS}
        return {"strength": weighted_mean(difference, batch.support), **by_region}
