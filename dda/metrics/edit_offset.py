"""EditOffset: whether the makeup lies on the features it belongs to, or beside them."""

import math

import torch
from torch.nn.functional import interpolate

from dda.metrics.color import to_lab
from dda.metrics.metric import Column, PairBatch

GRID = 256
REACH = 20
"""Largest offset looked for, in pixels on a side of 512: farther off, an eye shadow finds the brow, 25 to 28 away."""


class EditOffset:
    """Length of the shift of the region masks that explains the change best.

    For every shift s the change R is fitted by one color a region, R = sum_r c_r M_r(x - s); what the fit explains
    is sum_r |<R, M_r(x - s)>|^2 / |M_r|^2, for all shifts at once by the Fourier transform. Both are sharpened first,
    each frequency w by |w|^(1/2): broad washes of color say little about where they belong.
    """

    columns = (
        Column(
            name="edit_offset",
            unit="px",
            low=0,
            high=math.inf,
            better="lower",
            about="How far the painted shapes lie from the regions they belong to, in pixels on a side of 512; it sees "
            "a shift of the whole makeup of up to 20, not a crooked line, and over a single pair it may err.",
        ),
    )

    def __call__(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        """(N,) in pixels; NaN where there is no face, or nothing changed."""
        residual = _small(to_lab(batch.target) - to_lab(batch.source))
        spectrum, masks = _sharpened(residual), _sharpened(_small(batch.masks))
        energy = torch.fft.irfft2(masks, s=(GRID, GRID)).square().sum((2, 3)).clamp_min(1e-6)
        overlap = torch.fft.irfft2(spectrum[:, None] * masks.conj()[:, :, None], s=(GRID, GRID))  # (N, 4, 3, ...)
        explained = (overlap.square().sum(2) / energy[..., None, None]).sum(1)
        step = 512 / GRID
        axis = torch.fft.fftfreq(GRID, 1 / GRID, device=residual.device) * step
        distance = torch.hypot(axis[:, None], axis[None])
        best = explained.masked_fill(distance > REACH, -1).flatten(1).argmax(1)
        painted = batch.has_face & (residual.abs().amax((1, 2, 3)) > 0)
        return {"edit_offset": torch.where(painted, distance.flatten()[best], math.nan)}


def _small(image: torch.Tensor) -> torch.Tensor:
    return interpolate(image, (GRID, GRID), mode="area")


def _sharpened(image: torch.Tensor) -> torch.Tensor:
    """Half-plane spectrum of images (N, C, GRID, GRID), weighted by the root of the frequency."""
    down, across = torch.fft.fftfreq(GRID, device=image.device), torch.fft.rfftfreq(GRID, device=image.device)
    return torch.fft.rfft2(image) * torch.hypot(down[:, None], across[None]).sqrt()
