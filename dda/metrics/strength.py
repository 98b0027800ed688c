"""Makeup strength: how far each region's color moved, in CIEDE2000."""

import torch

from dda.metrics.color import compute_color_change
from dda.metrics.metric import Column, PairBatch, weighted_mean
from dda.regions import REGIONS


class Strength:
    """Mean CIEDE2000 of target to source under each region's mask, and under their sum M.

    >>> red = torch.tensor([0.8, 0.3, 0.3]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    >>> masks = torch.zeros(1, 4, 8, 8)
    >>> masks[:, REGIONS.index("lips"), 4:] = 1
    >>> everywhere = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    >>> batch = PairBatch(torch.full((1, 3, 8, 8), 0.6), red, None, masks, everywhere, torch.tensor([True]))
    >>> numbers = Strength()(batch)
    >>> numbers["strength_lips"].item() > 20, numbers["strength_eyes"].isnan().item()
    (True, True)
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
        """Return each strength (N,) in dE00; NaN where the face lacks the region."""
        difference = compute_color_change(batch)
        by_region = {f"strength_{region}": weighted_mean(difference, batch.mask(region)) for region in REGIONS}
        return {"strength": weighted_mean(difference, batch.support), **by_region}
