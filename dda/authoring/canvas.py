"""The face a makeup artist works on: a window of the picture in OKLab, masks, landmarks and skin tone."""

import numpy as np
from PIL import Image

from dda.authoring.oklab import from_oklab, to_oklab
from dda.authoring.recipes import Pigment
from dda.faces.region_masks import RegionMasks
from dda.faces.soft_masks import draw_soft_polygons, smoothstep

MEDIUM_SKIN = 0.7
"""OKLab lightness of the skin for which recipes give their colors."""

MEDIUM_CAST = np.array([0.066, 0.063], np.float32)
"""``a / L`` and ``b / L`` of that skin under white light."""

_COARSE = 4
"""Soft fields are computed on every fourth pixel."""


class Canvas:
    """Everything that a layer of makeup needs to know, and the picture so far.

    ``lab`` (h, w, 3) is the window being painted, ``bare`` the same before makeup, ``points`` (468, 2) the
    landmarks in its pixels, ``unit`` a hundredth of the eyes' distance, ``skin`` the face's color (3,).
    """

    def __init__(self, image: np.ndarray, regions: RegionMasks) -> None:
        self._image = image
        self._window = _window(regions.total_mask)
        rows, columns = self._window
        self.bare = to_oklab(image[self._window])
        self.lab = self.bare.copy()
        self.masks = {name: regions[name][self._window] for name in ("eyes", "lips", "skin", "brows")}
        self.total = regions.total_mask[self._window]
        self.points = regions.face.points - np.array([columns.start, rows.start], np.float32)
        self.depth = regions.face.landmarks[:, 2]
        self.unit = regions.face.unit_px
        self.shape = self.total.shape
        sure = self.masks["skin"] > 0.9
        if sure.sum() < 50:
            sure = self.total >= np.quantile(self.total, 0.9)
        self.skin = np.median(self.bare[sure], axis=0)
        # A gray picture stays gray: color is laid on as far as the skin itself shows any.
        chroma = float(np.hypot(*self.skin[1:]) / self.skin[0])
        self._colorfulness = float(smoothstep(chroma, 0.015, 0.05))
        self._vividness = float(np.clip(chroma / np.hypot(*MEDIUM_CAST), 0.55, 1.0))

    def finished(self) -> np.ndarray:
        """The picture (H, W, 3) uint8 with what was painted; its other pixels as they were."""
        change = self.lab - self.bare
        change[..., 1:] *= self._colorfulness
        change[self.total == 0] = 0
        result = self._image.copy()
        result[self._window] = from_oklab(self.bare + change)
        return result

    def adapted(self, pigment: Pigment, share: float, light: float = 0.4) -> np.ndarray:
        """A pigment (3,) on this face: deeper for deeper skin by the power ``share``, with ``light`` of its cast."""
        color = pigment.lab
        depth = self.skin[0] / MEDIUM_SKIN
        color *= depth ** np.array([share, share / 2, share / 2], np.float32)
        cast = np.clip(self.skin[1:] / self.skin[0] - MEDIUM_CAST, -0.05, 0.05)
        color[1:] += light * color[0] * cast
        return color

    def cover(
        self, pigment: np.ndarray, alpha: np.ndarray, ground: np.ndarray | float, at: tuple[slice, slice]
    ) -> None:
        """Lay an opaque paint on the part ``at``; what lies below shades it, relative to ``ground``."""
        shading = np.clip(self.lab[at][..., 0] / ground, 0, 1.7)[..., None]
        # Shine has the light's color, not the paint's.
        coloring = np.where(shading < 1, shading, 1 + 0.3 * (shading - 1))
        paint = np.concatenate([shading * pigment[0], coloring * pigment[1:]], -1)
        self.lab[at] += alpha[..., None] * (paint - self.lab[at])

    def stain(self, pigment: np.ndarray, alpha: np.ndarray) -> None:
        """Tint towards the pigment's hue without hiding anything: adds color in proportion to the light."""
        light = self._vividness * self.lab[..., 0] / MEDIUM_SKIN
        self.lab[..., 1:] += (alpha * light)[..., None] * pigment[1:]

    def shade(self, alpha: np.ndarray, warmth: float = 0.0) -> None:
        """Less light, except where burnt out: L times 1 - alpha, the colors ``warmth`` less so."""
        alpha = alpha * (1 - smoothstep(self.lab[..., 0], 0.88, 0.97))
        self.lab[..., 0] *= 1 - alpha
        self.lab[..., 1:] *= 1 - (1 - warmth) * alpha[..., None]

    def light(self, alpha: np.ndarray) -> None:
        """More light where there is room for it, so that nothing burns out."""
        lightness = self.lab[..., 0]
        self.lab *= (1 + alpha * np.clip(1.25 * (1 - lightness), 0, 1))[..., None]

    def stroke(self, points: np.ndarray, width: float) -> np.ndarray:
        """A soft brush stroke (h, w) in [0, 1] along ``points`` (N, 2), ``width`` pixels to either side."""
        height, length = self.shape
        y, x = np.mgrid[: height // _COARSE, : length // _COARSE].astype(np.float32) * _COARSE + _COARSE / 2
        distance, _ = distance_to_line(np.stack([x, y], -1), points)
        soft = Image.fromarray(np.exp(-((distance / width) ** 2)).astype(np.float32))
        return np.asarray(soft.resize((length, height), Image.Resampling.BICUBIC))

    def polygon(self, points: np.ndarray, feather: float) -> np.ndarray:
        """A filled polygon (h, w) in [0, 1] with an edge ``feather`` pixels soft."""
        height, width = self.shape
        return draw_soft_polygons([points], max(self.shape), feather)[:height, :width]

    def facing(self, triangle: tuple[int, int, int]) -> float:
        """How much the patch between three landmarks faces the camera: 0 turned away, 1 well in view."""
        corners = np.concatenate([self.points, self.depth[:, None]], 1)[list(triangle)]
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
        return float(smoothstep(abs(normal[2]) / max(float(np.linalg.norm(normal)), 1e-6), 0.15, 0.6))

    def around(self, points: np.ndarray, margin: float) -> tuple[slice, slice]:
        """The part of the window that holds ``points`` (N, 2) and ``margin`` pixels around them."""
        low = np.maximum(np.floor(points.min(0) - margin), 0).astype(int)
        high = np.minimum(np.ceil(points.max(0) + margin), self.shape[::-1]).astype(int)
        return slice(low[1], max(high[1], low[1])), slice(low[0], max(high[0], low[0]))


def pixel_centers(at: tuple[slice, slice]) -> np.ndarray:
    """Coordinates (h, w, 2) of the pixels of a part."""
    rows, columns = at
    y, x = np.mgrid[rows.start : rows.stop, columns.start : columns.stop].astype(np.float32) + 0.5
    return np.stack([x, y], -1)


def distance_to_line(at: np.ndarray, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance (...) of points (..., 2) from the line through ``line`` (N, 2), and place on it in [0, 1]."""
    x, y = at[..., 0].astype(np.float32), at[..., 1].astype(np.float32)
    lengths = np.hypot(*np.diff(line, axis=0).T) + 1e-6
    nearest, place = np.full(x.shape, np.inf, np.float32), np.zeros(x.shape, np.float32)
    travelled = 0.0
    for (x0, y0), (step_x, step_y), length in zip(line, np.diff(line, axis=0), lengths, strict=False):
        step_x, step_y = step_x / length, step_y / length
        along = np.clip((x - x0) * step_x + (y - y0) * step_y, 0, length)
        squared = (x - x0 - along * step_x) ** 2 + (y - y0 - along * step_y) ** 2
        closer = squared < nearest
        nearest[closer] = squared[closer]
        place[closer] = along[closer] + travelled
        travelled += length
    return np.sqrt(nearest), place / travelled


def _window(total: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns that hold every pixel with ``total`` > 0, on multiples of the coarse step."""
    bounds = []
    for axis, size in ((1, total.shape[0]), (0, total.shape[1])):
        used = np.flatnonzero(total.any(axis))
        low, high = (used[0], used[-1] + 1) if len(used) else (0, size)
        bounds.append(slice(low // _COARSE * _COARSE, -(-high // _COARSE) * _COARSE))
    return bounds[0], bounds[1]
