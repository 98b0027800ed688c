"""Brow makeup: gaps filled and hairs darkened in the brows' own color. The amounts are heuristics."""

import numpy as np
from scipy.ndimage import gaussian_filter

from dda.authoring.canvas import Canvas
from dda.authoring.recipes import Brows
from dda.faces.parsing.mesh_masks import compute_brow_outline
from dda.faces.soft_masks import smoothstep


def paint_brows(canvas: Canvas, brows: Brows) -> None:
    """Fill the gaps between the hairs of both brows, and darken the hairs."""
    if not (brows.fill or brows.darken):
        return
    for side in (0, 1):
        _paint_brow(canvas, brows, compute_brow_outline(canvas.points, side))


def _paint_brow(canvas: Canvas, brows: Brows, outline: np.ndarray) -> None:
    window = canvas.bound_points(outline, 6 * canvas.unit_px)
    mask = canvas.masks["brows"][window]
    if not (mask > 0.5).any():
        return
    shape = canvas.draw_polygon(_straighten(outline, brows.straight), 1.6 * canvas.unit_px)[window]
    allowed = np.maximum(mask, 0.8 * canvas.masks["eyes"][window] * brows.straight)
    alpha = shape * np.minimum(1.3 * allowed, 1)
    lightness = canvas.lab[window][..., 0]
    brow_lightness = lightness[mask > 0.5]
    hair_lightness, skin_lightness = np.quantile(brow_lightness, 0.15), np.quantile(lightness[allowed > 0.3], 0.85)
    hair_color = canvas.lab[window][(mask > 0.5) & (lightness <= np.quantile(brow_lightness, 0.3))].mean(0)
    # The brow of the mesh is not exactly the brow of the face: hairs, and skin near them, are found by their lightness.
    hairs = smoothstep((skin_lightness - lightness) / max(skin_lightness - hair_lightness, 0.08), 0.25, 0.85)
    near_hairs = np.minimum(1.7 * gaussian_filter(hairs * (mask > 0.2), 2.2 * canvas.unit_px), 1)
    near_hairs = np.maximum(near_hairs, 0.5 * brows.straight * shape * (1 - mask))
    gaps = alpha * near_hairs * (1 - hairs)
    canvas.lab[window] += (0.55 * brows.fill * gaps)[..., None] * (hair_color - canvas.lab[window])
    canvas.lab[window] *= 1 - (0.35 * brows.darken * alpha * near_hairs * hairs)[..., None]


def _straighten(outline: np.ndarray, amount: float) -> np.ndarray:
    """Move the outline (10, 2) of a brow, upper edge then lower, towards a straight bar along its axis."""
    upper, lower = outline[:5], outline[5:]
    middle = (upper + lower[::-1]) / 2
    axis = middle[-1] - middle[0]
    position = ((middle - middle[0]) @ axis) / max(float(axis @ axis), 1e-6)
    straight = middle[0] + position[:, None] * axis
    shift = 0.5 * amount * (straight - middle)
    return np.concatenate([upper + shift, lower + shift[::-1]])
