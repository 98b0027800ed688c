"""Eyeliner: how much stronger the edges around the eyes became."""

import torch

from dda.metrics.color import compute_luma
from dda.metrics.metric import Column, PairBatch, weighted_mean
from dda.metrics.structure import compute_edges

LOG_OFFSET = 0.05
"""Added to luma before the logarithm, so that noise in black lashes does not count as edges."""


class Eyeliner:
    """Energy of the edges (mean squared Sobel gradient of log luma) under the eyes mask, target over source.

    Shape (N,), range [0, inf), neither end is better; 1 where nothing changed. NaN where no eye is visible. Logarithms
    measure contrast, which does not fall when a shadow darkens everything below it.

    Example:
        >>> source = torch.full((1, 3, 64, 64), 0.5)
        >>> source[..., 40:] = 0.45
        >>> target = source.clone()
        >>> target[..., 28:30, 16:48] = 0.1  # a dark line
        >>> masks = torch.zeros(1, 4, 64, 64)
        >>> masks[:, 0] = 1
        >>> oval, has_face = torch.ones(1, 1, 64, 64, dtype=torch.bool), torch.tensor([True])
        >>> bool(Eyeliner()(PairBatch(source, target, None, masks, oval, has_face))["eyeliner"] > 10)
        True
        >>> Eyeliner()(PairBatch(source, source, None, masks, oval, has_face))
        {'eyeliner': tensor([1.])}
    """

    columns = (
        Column(
            name="eyeliner",
            unit="",
            low=0,
            high=float("inf"),
            better="none",
            about="Energy of the edges around the eyes, target over source: 1 is no change; liner, lashes and sharp "
            "shadow raise it, and so does noise.",
        ),
    )

    def __call__(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        """Return the ratio of each pair (N,)."""
        eyes = batch.region_mask("eyes")
        before, after = (
            weighted_mean(compute_edges(torch.log(compute_luma(picture) + LOG_OFFSET)).square(), eyes)
            for picture in (batch.source, batch.target)
        )
        return {"eyeliner": after / before}
