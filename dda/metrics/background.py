"""Background error: whether a pair keeps all that is not face."""

import math

import torch

from dda.metrics.metric import Column, PairBatch

MIN_CHANGE = 0.5 / 255
"""Half a gray level: less is no change in an 8-bit picture."""


class Background:
    """Share of the pixels outside the grown face oval that changed at all, law 3."""

    columns = (
        Column(
            name="background_error",
            unit="",
            low=0,
            high=1,
            better="zero",
            about="Share of the pixels outside the face that changed at all; it must be 0, and pictures that went "
            "through JPEG never reach it.",
        ),
    )

    def __call__(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        """Return the share (N,) in [0, 1]; NaN where there is no face."""
        background = batch.oval <= 0
        changed = ((batch.target - batch.source).abs() > MIN_CHANGE).any(1, keepdim=True) & background
        share = changed.sum((1, 2, 3)) / background.sum((1, 2, 3))  # a face that fills the picture: NaN
        return {"background_error": torch.where(batch.has_face, share, math.nan)}
