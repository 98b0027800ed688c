"""Canvas: the face of a picture in OKLab, painted layer by layer."""

import numpy as np
from PIL import Image

from dda.authoring.oklab import oklab_to_srgb, srgb_to_oklab
from dda.authoring.recipes import Pigment
from dda.faces.face_mesh import MeshFace
from dda.faces.region_masks import RegionMasks
from dda.faces.soft_masks import draw_soft_polygons, smoothstep
from dda.regions import REGIONS

REFERENCE_SKIN_LIGHTNESS = 0.7
"""OKLab lightness of the skin that the colors of recipes are given for."""

REFERENCE_SKIN_CHROMATICITY = np.array([0.066, 0.063], np.float32)
"""``a / L`` and ``b / L`` of that skin under white light."""

MAX_LIGHT_TINT = 0.05
"""Largest difference of ``a / L`` or ``b / L`` from the reference skin that counts as the color of the light."""

SKIN_MASK_THRESHOLD = 0.9
"""Mask from which a pixel is an example of the skin's color."""

MIN_SKIN_EXAMPLES_PX = 50
"""Number of skin pixels below which the pixels with the largest total mask are the examples."""

GRAYSCALE_CHROMA_RANGE = (0.015, 0.05)
"""Chroma of the skin, relative to its lightness, over which a picture passes from grayscale to color."""

STROKE_GRID_STEP_PX = 4
"""Strokes are computed on every fourth pixel and interpolated: they are soft."""

Window = tuple[slice, slice]
"""Rows and columns of a part of the canvas."""


class Canvas:
    """The window of a picture that is painted, with what a layer of makeup needs to know of the face.

    Args:
        image: the aligned picture, uint8 (H, W, 3).
        regions: its region masks.

    Attributes:
        lab: the window as painted so far, OKLab (h, w, 3).
        bare_lab: the window without makeup.
        masks: region masks (h, w) by name.
        total_mask: their sum M (h, w).
        points: landmarks (468, 2) in pixels of the window.
        depths: depths (468,) of the landmarks in the same unit.
        unit_px: a hundredth of the distance of the eyes, in pixels.
        skin_color: median OKLab color (3,) of the bare skin.
    """

    def __init__(self, image: np.ndarray, regions: RegionMasks[MeshFace]) -> None:
        self._image = image
        self._window = _bound_mask(regions.total_mask)
        rows, columns = self._window
        self.bare_lab = srgb_to_oklab(image[self._window])
        self.lab = self.bare_lab.copy()
        self.masks = {region: regions[region][self._window] for region in REGIONS}
        self.total_mask = regions.total_mask[self._window]
        self.points = regions.face.points - np.array([columns.start, rows.start], np.float32)
        self.depths = regions.face.landmarks[:, 2]
        self.unit_px = regions.face.unit_px
        self.shape = self.total_mask.shape
        is_skin = self.masks["skin"] > SKIN_MASK_THRESHOLD
        if is_skin.sum() < MIN_SKIN_EXAMPLES_PX:
            is_skin = self.total_mask >= np.quantile(self.total_mask, 0.9)
        self.skin_color = np.median(self.bare_lab[is_skin], axis=0)
        chroma = float(np.hypot(*self.skin_color[1:]) / self.skin_color[0])
        self._color_share = float(smoothstep(chroma, *GRAYSCALE_CHROMA_RANGE))
        self._relative_chroma = float(np.clip(chroma / np.hypot(*REFERENCE_SKIN_CHROMATICITY), 0.55, 1.0))

    def render(self) -> np.ndarray:
        """Return the picture (H, W, 3) uint8 with the makeup; pixels outside the masks keep their bytes.

        A grayscale picture stays grayscale: the change of color is scaled by how much color the skin has.
        """
        change = self.lab - self.bare_lab
        change[..., 1:] *= self._color_share
        change[self.total_mask == 0] = 0
        rendered = self._image.copy()
        rendered[self._window] = oklab_to_srgb(self.bare_lab + change)
        return rendered

    def adapt_pigment(self, pigment: Pigment, depth_exponent: float, light_share: float = 0.4) -> np.ndarray:
        """Return the OKLab color (3,) of a pigment on this face.

        Args:
            pigment: given for the reference skin.
            depth_exponent: exponent by which the pigment darkens with the skin; half of it for the color axes.
            light_share: share of the tint of the light that the pigment takes on.
        """
        color = pigment.lab
        depth = self.skin_color[0] / REFERENCE_SKIN_LIGHTNESS
        color *= depth ** np.array([depth_exponent, depth_exponent / 2, depth_exponent / 2], np.float32)
        tint = self.skin_color[1:] / self.skin_color[0] - REFERENCE_SKIN_CHROMATICITY
        color[1:] += light_share * color[0] * np.clip(tint, -MAX_LIGHT_TINT, MAX_LIGHT_TINT)
        return color

    def cover(self, color: np.ndarray, alpha: np.ndarray, base_lightness: np.ndarray | float, window: Window) -> None:
        """Paint an opaque color that keeps the shading below it.

        Args:
            color: OKLab (3,).
            alpha: coverage (h, w) in [0, 1].
            base_lightness: lightness of the unshaded surface, (h, w) or one number.
            window: the part to paint.
        """
        shading = np.clip(self.lab[window][..., 0] / base_lightness, 0, 1.7)[..., None]
        # A highlight has the color of the light, so chroma grows less with it than lightness does.
        chroma_shading = np.where(shading < 1, shading, 1 + 0.3 * (shading - 1))
        paint = np.concatenate([shading * color[0], chroma_shading * color[1:]], -1)
        self.lab[window] += alpha[..., None] * (paint - self.lab[window])

    def stain(self, color: np.ndarray, alpha: np.ndarray) -> None:
        """Add the hue of a color (3,) in proportion to the light, with ``alpha`` (h, w); lightness stays."""
        light = self._relative_chroma * self.lab[..., 0] / REFERENCE_SKIN_LIGHTNESS
        self.lab[..., 1:] += (alpha * light)[..., None] * color[1:]

    def darken(self, alpha: np.ndarray, warmth: float = 0.0) -> None:
        """Multiply the lightness by 1 - ``alpha`` (h, w), except in blown highlights.

        ``warmth`` keeps that share of the chroma (1: all of it); above 1 the chroma grows.
        """
        alpha = alpha * (1 - smoothstep(self.lab[..., 0], 0.88, 0.97))
        self.lab[..., 0] *= 1 - alpha
        self.lab[..., 1:] *= 1 - (1 - warmth) * alpha[..., None]

    def brighten(self, alpha: np.ndarray) -> None:
        """Multiply the color by 1 + ``alpha`` (h, w), less where the pixel is bright already, so that none clips."""
        lightness = self.lab[..., 0]
        self.lab *= (1 + alpha * np.clip(1.25 * (1 - lightness), 0, 1))[..., None]

    def draw_stroke(self, points: np.ndarray, width: float) -> np.ndarray:
        """Draw a line with a Gaussian profile, (h, w) in [0, 1].

        Args:
            points: corners (N, 2) of the line.
            width: distance in pixels at which it has fallen to 1 / e.
        """
        height, length = self.shape
        step = STROKE_GRID_STEP_PX
        y, x = np.mgrid[: height // step, : length // step].astype(np.float32) * step + step / 2
        distance, _ = distance_to_line(np.stack([x, y], -1), points)
        profile = Image.fromarray(np.exp(-((distance / width) ** 2)).astype(np.float32))
        return np.asarray(profile.resize((length, height), Image.Resampling.BICUBIC))

    def draw_polygon(self, points: np.ndarray, feather: float) -> np.ndarray:
        """Draw a filled polygon, (h, w) in [0, 1], blurred by ``feather`` pixels (sigma)."""
        height, width = self.shape
        return draw_soft_polygons([points], max(self.shape), feather)[:height, :width]

    def frontality(self, triangle: tuple[int, int, int]) -> float:
        """Return how much the triangle of three landmarks faces the camera: 0 turned away, 1 in view."""
        corners = np.concatenate([self.points, self.depths[:, None]], 1)[list(triangle)]
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
        return float(smoothstep(abs(normal[2]) / max(float(np.linalg.norm(normal)), 1e-6), 0.15, 0.6))

    def bound_points(self, points: np.ndarray, margin: float) -> Window:
        """Return the part of the canvas that holds ``points`` (N, 2) and ``margin`` pixels around them."""
        low = np.maximum(np.floor(points.min(0) - margin), 0).astype(int)
        high = np.minimum(np.ceil(points.max(0) + margin), self.shape[::-1]).astype(int)
        return slice(low[1], max(high[1], low[1])), slice(low[0], max(high[0], low[0]))


def pixel_centers(window: Window) -> np.ndarray:
    """Return the coordinates (h, w, 2) of the pixel centers of a part of the canvas."""
    rows, columns = window
    y, x = np.mgrid[rows.start : rows.stop, columns.start : columns.stop].astype(np.float32) + 0.5
    return np.stack([x, y], -1)


def distance_to_line(points: np.ndarray, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Measure the distance of points from a polyline.

    Args:
        points: (..., 2).
        line: corners (N, 2) of the polyline.

    Returns:
        The distances (...), and the position of the nearest point of the line, in [0, 1] along its length, (...).
    """
    x, y = points[..., 0].astype(np.float32), points[..., 1].astype(np.float32)
    lengths = np.hypot(*np.diff(line, axis=0).T) + 1e-6
    nearest, position = np.full(x.shape, np.inf, np.float32), np.zeros(x.shape, np.float32)
    length_before = 0.0
    for (x0, y0), (step_x, step_y), length in zip(line, np.diff(line, axis=0), lengths, strict=False):
        step_x, step_y = step_x / length, step_y / length
        along = np.clip((x - x0) * step_x + (y - y0) * step_y, 0, length)
        squared = (x - x0 - along * step_x) ** 2 + (y - y0 - along * step_y) ** 2
        is_closer = squared < nearest
        nearest[is_closer] = squared[is_closer]
        position[is_closer] = along[is_closer] + length_before
        length_before += length
    return np.sqrt(nearest), position / length_before


def _bound_mask(mask: np.ndarray) -> Window:
    """Return the part of a picture that holds every pixel with ``mask`` > 0, on multiples of the stroke grid's step."""
    step = STROKE_GRID_STEP_PX
    bounds = []
    for axis, size in ((1, mask.shape[0]), (0, mask.shape[1])):
        used = np.flatnonzero(mask.any(axis))
        low, high = (used[0], used[-1] + 1) if len(used) else (0, size)
        bounds.append(slice(low // step * step, -(-high // step) * step))
    return bounds[0], bounds[1]
