"""Lip makeup: lipstick that keeps the texture of the lips, with gloss. The amounts are heuristics."""

import numpy as np
from scipy.ndimage import gaussian_filter

from dda.authoring.canvas import Canvas, Window, distance_to_line, pixel_centers
from dda.authoring.recipes import Lips
from dda.faces.parsing.lips import LIPS_INNER, LIPS_OUTER
from dda.faces.soft_masks import smoothstep

LIP_MASK_THRESHOLD = 0.8
"""Mask from which a pixel is an example of the lips' lightness."""

MIN_LIP_EXAMPLES_PX = 20
"""Number of lip pixels below which lips are not painted."""

MAX_LIGHTENING = 1.1
"""Largest lightness of a lipstick, in that of the bare lips: lipstick hardly lightens a lip."""

# Middles of the lower lip's outer and inner edge in the mesh.
LOWER_LIP_OUTER, LOWER_LIP_INNER = [84, 17, 314], [87, 14, 317]


def paint_lips(canvas: Canvas, lips: Lips) -> None:
    """Paint lipstick, with a gradient towards the rim, then gloss."""
    if not (lips.coverage or lips.gloss):
        return
    outer, inner = canvas.points[list(LIPS_OUTER)], canvas.points[list(LIPS_INNER)]
    window = canvas.bound_points(outer, 8 * canvas.unit_px)
    mask = canvas.masks["lips"][window]
    is_lip = mask > LIP_MASK_THRESHOLD
    if is_lip.sum() < MIN_LIP_EXAMPLES_PX:
        return
    inner_distance, _ = distance_to_line(pixel_centers(window), np.concatenate([inner, inner[:1]]))
    coverage = np.minimum(mask, gaussian_filter(mask, 1.5 * lips.softness * canvas.unit_px))
    coverage *= 1 - _mark_gums(canvas, inner, inner_distance, window)
    lip_lightness = float(np.median(canvas.bare_lab[window][is_lip][:, 0]))
    _paint_lipstick(canvas, lips, coverage, outer, inner, inner_distance, lip_lightness, window)
    highlight = np.clip(canvas.bare_lab[window][..., 0] / lip_lightness - 1.05, 0, 0.4)
    lower_lip = canvas.points[LOWER_LIP_OUTER] * 0.5 + canvas.points[LOWER_LIP_INNER] * 0.5
    stroke = canvas.draw_stroke(lower_lip, 4 * canvas.unit_px)[window]
    gloss = lips.gloss * coverage * (0.9 * highlight + 0.10 * stroke)
    canvas.lab[window][..., 0] += gloss * np.clip(1 - canvas.lab[window][..., 0], 0, 1)


def _mark_gums(canvas: Canvas, inner: np.ndarray, inner_distance: np.ndarray, window: Window) -> np.ndarray:
    """Mark the inside of an open mouth, (h, w) in [0, 1]: gums have the color of lips."""
    gap = float(np.hypot(*(inner[5] - inner[15]))) / canvas.unit_px
    depth = np.where(canvas.draw_polygon(inner, 0.3)[window] > 0.5, inner_distance, 0) / canvas.unit_px
    return smoothstep(depth, 0.8, 2.5) * float(smoothstep(gap, 3, 6))


def _paint_lipstick(
    canvas: Canvas,
    lips: Lips,
    coverage: np.ndarray,
    outer: np.ndarray,
    inner: np.ndarray,
    inner_distance: np.ndarray,
    lip_lightness: float,
    window: Window,
) -> None:
    alpha = lips.coverage * coverage
    # Upper and lower lip of different lightness come closer under the same lipstick; their texture stays.
    smooth = gaussian_filter(canvas.bare_lab[window][..., 0] * canvas.masks["lips"][window], 4 * canvas.unit_px)
    smooth /= gaussian_filter(canvas.masks["lips"][window], 4 * canvas.unit_px) + 1e-4
    base_lightness = np.sqrt(np.clip(smooth / lip_lightness, 0.6, 1.7)) * lip_lightness
    color = canvas.adapt_pigment(lips.color, 0.5)
    color *= min(1.0, MAX_LIGHTENING * lip_lightness / color[0])
    if lips.gradient:
        # The rim gets a tint between lipstick and skin; the full color stays where the lips meet.
        thickness = 0.6 * float(np.mean(np.hypot(*(outer - inner).T))) + 1e-6
        rim = lips.gradient * smoothstep(inner_distance / thickness, 0.2, 1.9)
        skin_color = canvas.skin_color * min(1.0, MAX_LIGHTENING * lip_lightness / canvas.skin_color[0])
        canvas.cover(0.5 * color + 0.5 * skin_color, alpha * rim * 0.8, base_lightness, window)
        alpha = alpha * (1 - rim)
    canvas.cover(color, alpha, base_lightness, window)
