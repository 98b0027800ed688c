"""Edit offset: distance of the painted shapes from the regions that they belong to."""

import math

import torch
from torch.nn.functional import interpolate

from dda.metrics.color import srgb_to_lab
from dda.metrics.metric import Column, PairBatch

GRID_SIZE = 256
"""Side to which pictures and masks are resized for the search."""

MAX_OFFSET_PX = 20
"""Largest offset of the search, on a side of 512: the brow is 25 to 28 pixels from an eye shadow, and would match."""


class EditOffset:
    """Length of the shift of the region masks that explains the color change best.

    Shape (N,), in pixels on a side of 512, range [0, `MAX_OFFSET_PX`], lower is better. NaN where no face was found or
    nothing changed.

    The search is a cross-correlation by Fourier transform. For a shift s, the change R is fitted by one color for each
    region, R = sum_r c_r M_r(x - s), which explains sum_r |<R, M_r(x - s)>|^2 / |M_r|^2 of it. R and M_r are
    high-pass filtered first, each frequency w by |w|^(1/2), because smooth color says little about position.

    Example:
        >>> masks = torch.zeros(1, 4, 512, 512)
        >>> masks[:, 1, 200:240, 200:280] = 1  # the lips
        >>> source = torch.full((1, 3, 512, 512), 0.5)
        >>> target = source + 0.2 * masks[:, 1:2].roll(12, 2) * torch.tensor([1.0, 0.0, 0.0])[:, None, None]
        >>> oval, has_face = torch.ones(1, 1, 512, 512, dtype=torch.bool), torch.tensor([True])
        >>> EditOffset()(PairBatch(source, target, None, masks, oval, has_face))
        {'edit_offset': tensor([12.])}
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
        """Return the offset of each pair (N,)."""
        change = _resize_to_grid(srgb_to_lab(batch.target) - srgb_to_lab(batch.source))
        spectrum, mask_spectra = _high_pass_spectrum(change), _high_pass_spectrum(_resize_to_grid(batch.masks))
        grid = (GRID_SIZE, GRID_SIZE)
        energy = torch.fft.irfft2(mask_spectra, s=grid).square().sum((2, 3)).clamp_min(1e-6)
        overlap = torch.fft.irfft2(spectrum[:, None] * mask_spectra.conj()[:, :, None], s=grid)  # (N, 4, 3, ...)
        explained = (overlap.square().sum(2) / energy[..., None, None]).sum(1)
        step = 512 / GRID_SIZE
        axis = torch.fft.fftfreq(GRID_SIZE, 1 / GRID_SIZE, device=change.device) * step
        distance = torch.hypot(axis[:, None], axis[None])
        best = explained.masked_fill(distance > MAX_OFFSET_PX, -1).flatten(1).argmax(1)
        is_painted = batch.has_face & (change.abs().amax((1, 2, 3)) > 0)
        return {"edit_offset": torch.where(is_painted, distance.flatten()[best], math.nan)}


def _resize_to_grid(image: torch.Tensor) -> torch.Tensor:
    return interpolate(image, (GRID_SIZE, GRID_SIZE), mode="area")


def _high_pass_spectrum(image: torch.Tensor) -> torch.Tensor:
    """Return the half-plane spectrum of images (N, C, GRID_SIZE, GRID_SIZE), weighted by the root of the frequency."""
    rows = torch.fft.fftfreq(GRID_SIZE, device=image.device)
    columns = torch.fft.rfftfreq(GRID_SIZE, device=image.device)
    return torch.fft.rfft2(image) * torch.hypot(rows[:, None], columns[None]).sqrt()
