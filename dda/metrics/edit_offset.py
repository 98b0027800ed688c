"""EditOffset: whether the makeup lies on the features it belongs to, or beside them."""

import math

import torch
from torch.nn.functional import interpolate

from dda.metrics.color import srgb_to_lab
from dda.metrics.metric import Column, PairBatch

GRID_SIZE = 256
MAX_OFFSET_PX = 20
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
        """Return the offset (N,) in pixels; NaN where there is no face, or nothing changed."""
        residual = _downsample(srgb_to_lab(batch.target) - srgb_to_lab(batch.source))
        spectrum, masks = _whitened_spectrum(residual), _whitened_spectrum(_downsample(batch.masks))
        energy = torch.fft.irfft2(masks, s=(GRID_SIZE, GRID_SIZE)).square().sum((2, 3)).clamp_min(1e-6)
        products = spectrum[:, None] * masks.conj()[:, :, None]  # (N, 4, 3, ...)
        overlap = torch.fft.irfft2(products, s=(GRID_SIZE, GRID_SIZE))
        explained = (overlap.square().sum(2) / energy[..., None, None]).sum(1)
        step = 512 / GRID_SIZE
        axis = torch.fft.fftfreq(GRID_SIZE, 1 / GRID_SIZE, device=residual.device) * step
        distance = torch.hypot(axis[:, None], axis[None])
        best = explained.masked_fill(distance > MAX_OFFSET_PX, -1).flatten(1).argmax(1)
        painted = batch.has_face & (residual.abs().amax((1, 2, 3)) > 0)
        return {"edit_offset": torch.where(painted, distance.flatten()[best], math.nan)}


def _downsample(image: torch.Tensor) -> torch.Tensor:
    return interpolate(image, (GRID_SIZE, GRID_SIZE), mode="area")


def _whitened_spectrum(image: torch.Tensor) -> torch.Tensor:
    """Return the half-plane spectrum of images (N, C, GRID_SIZE, GRID_SIZE), weighted by the root of the frequency."""
    down, across = torch.fft.fftfreq(GRID_SIZE, device=image.device), torch.fft.rfftfreq(GRID_SIZE, device=image.device)
    return torch.fft.rfft2(image) * torch.hypot(down[:, None], across[None]).sqrt()
