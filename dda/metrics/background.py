"""Background error: share of the background's pixels that changed."""

import math

import torch

from dda.metrics.metric import Column, PairBatch

MIN_CHANGE = 0.5 / 255
"""Smallest change of a value that counts: half a gray level, which is none in an 8-bit picture."""


class Background:
    """Share of the pixels outside the grown face oval that changed at all.

    Shape (N,), range [0, 1], 0 is best: composition must leave the background as it is. NaN where no face was found,
    or where the face fills the picture.

    Example:
        >>> source = torch.full((1, 3, 8, 8), 0.5)
        >>> target = source.clone()
        >>> target[..., 0, 0] = 0.6  # one of the 48 pixels outside the oval
        >>> oval = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
        >>> oval[..., 2:6, 2:6] = True
        >>> batch = PairBatch(source, target, None, oval.float().repeat(1, 4, 1, 1) / 4, oval, torch.tensor([True]))
        >>> round(float(Background()(batch)["background_error"]), 4)
        0.0208
    """

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
        """Return the share of each pair (N,)."""
        background = batch.oval <= 0
        changed = ((batch.target - batch.source).abs() > MIN_CHANGE).any(1, keepdim=True) & background
        share = changed.sum((1, 2, 3)) / background.sum((1, 2, 3))  # 0 / 0 is NaN
        return {"background_error": torch.where(batch.has_face, share, math.nan)}
