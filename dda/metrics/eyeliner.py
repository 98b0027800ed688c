"""Eyeliner: how much sharper the eyes' surround became."""

import torch

from dda.metrics.color import compute_luma
from dda.metrics.metric import Column, PairBatch, weighted_mean
from dda.metrics.structure import compute_edges

LOG_OFFSET = 0.05
"""Luma that is added before the logarithm, so that noise in the black of a lash is no edge."""


class Eyeliner:
    """Sobel energy (mean squared gradient) of log luma under the eyes mask, target over source.

    In logarithms, because a dark shade scales all edges under it down, while the eye sees their contrast.
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
        """Return the ratio (N,), 1 where nothing changed; NaN where no eye is in sight."""
        eyes = batch.mask("eyes")
        before, after = (
            weighted_mean(compute_edges(torch.log(compute_luma(picture) + LOG_OFFSET)).square(), eyes)
            for picture in (batch.source, batch.target)
        )
        return {"eyeliner": after / before}
