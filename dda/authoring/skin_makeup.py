"""Skin makeup: foundation, contour with highlight, and blush. The amounts are heuristics."""

import numpy as np
from scipy.ndimage import gaussian_filter

from dda.authoring.canvas import Canvas
from dda.authoring.recipes import Blush, Foundation, Sculpt

# Landmarks of the mesh; pairs are the image-left and the image-right side.
CHEEK_APPLE_LINES = ((50, 101, 36), (280, 330, 266))
CHEEKBONE_LINES = ((50, 123, 227), (280, 352, 447))
CHEEKBONE_TOP_LINES = ((117, 111, 116), (346, 340, 345))
CHEEK_HOLLOW_LINES = ((177, 147, 187), (401, 376, 411))
CHEEK_TRIANGLES = ((50, 123, 205), (280, 352, 425))
TEMPLE_LINES = ((162, 21, 54), (389, 251, 284))
NOSE_BRIDGE_LINE = (168, 197, 5)
CUPIDS_BOW_LINE = (37, 0, 267)
FOREHEAD_LINE = (151, 9)
NOSE_ROOT, NOSE_BASE = 168, 2

BLOTCH_SIGMAS_UNITS = (1.5, 5)
"""Sigmas of the difference of Gaussians that finds blotches, in hundredths of the distance of the eyes.

Pores are finer, features of the face are wider.
"""

MAX_BLOTCH_LIGHTNESS, MAX_BLOTCH_CHROMA = 0.05, 0.03
"""Contrasts at which a blotch counts 1 / e: stronger ones are features of the face."""


def paint_foundation(canvas: Canvas, foundation: Foundation) -> None:
    """Even out blotches of the skin, brighten it, and strengthen its highlights."""
    if not (foundation.evenness or foundation.brighten or foundation.dew):
        return
    skin = canvas.masks["skin"] + 0.7 * canvas.masks["eyes"]
    half_size = _halve(canvas.bare_lab)
    weight = _halve(skin)[..., None] + 1e-4
    fine, coarse = (_masked_blur(half_size, weight, sigma * canvas.unit_px) for sigma in BLOTCH_SIGMAS_UNITS)
    band = fine - coarse
    blotches = np.empty_like(band)
    blotches[..., 0] = 0.5 * band[..., 0] * np.exp(-((band[..., 0] / MAX_BLOTCH_LIGHTNESS) ** 2))
    squared_chroma = (band[..., 1:] ** 2).sum(-1, keepdims=True)
    blotches[..., 1:] = 0.9 * band[..., 1:] * np.exp(-squared_chroma / MAX_BLOTCH_CHROMA**2)
    canvas.lab -= (foundation.evenness * skin)[..., None] * _double(blotches)
    canvas.brighten(foundation.brighten * skin)
    highlight = np.clip(_double(coarse[..., :1])[..., 0] / canvas.skin_color[0] - 1, 0, 0.2)
    canvas.brighten(1.2 * foundation.dew * highlight * canvas.masks["skin"])


def paint_contour(canvas: Canvas, sculpt: Sculpt) -> None:
    """Darken the hollows of the cheeks and the temples, and brighten cheekbones, nose, Cupid's bow and forehead."""
    unit, skin = canvas.unit_px, canvas.masks["skin"]
    for side in (0, 1):
        frontality = canvas.frontality(CHEEK_TRIANGLES[side])
        if sculpt.contour:
            hollow = canvas.draw_stroke(canvas.points[list(CHEEK_HOLLOW_LINES[side])], 13 * unit)
            temple = canvas.draw_stroke(canvas.points[list(TEMPLE_LINES[side])], 14 * unit)
            canvas.darken(0.13 * sculpt.contour * frontality * np.maximum(hollow, 0.7 * temple) * skin, warmth=1.5)
        if sculpt.highlight:
            cheekbone = canvas.draw_stroke(canvas.points[list(CHEEKBONE_TOP_LINES[side])], 8 * unit)
            canvas.brighten(0.28 * sculpt.highlight * frontality * cheekbone * skin)
    if sculpt.highlight:
        for line, width in ((NOSE_BRIDGE_LINE, 4), (CUPIDS_BOW_LINE, 4), (FOREHEAD_LINE, 14)):
            stroke = canvas.draw_stroke(canvas.points[list(line)], width * unit)
            canvas.brighten(0.16 * sculpt.highlight * stroke * skin)


def paint_blush(canvas: Canvas, blush: Blush) -> None:
    """Stain the cheeks, between the cheekbone and the apple."""
    if not blush.coverage:
        return
    skin = canvas.masks["skin"] + canvas.masks["eyes"]
    upward = canvas.points[NOSE_ROOT] - canvas.points[NOSE_BASE]
    for side in (0, 1):
        apple, cheekbone = (canvas.points[list(lines[side])] for lines in (CHEEK_APPLE_LINES, CHEEKBONE_LINES))
        shift = (blush.lift - 0.5) * 0.16 * upward
        line = blush.placement * apple + (1 - blush.placement) * cheekbone + shift
        stroke = canvas.draw_stroke(line, (13 + 5 * blush.placement) * blush.width * canvas.unit_px)
        alpha = blush.coverage * canvas.frontality(CHEEK_TRIANGLES[side]) * stroke * skin
        canvas.stain(blush.color.lab, 0.55 * alpha)
        canvas.darken(0.06 * alpha)


def _halve(field: np.ndarray) -> np.ndarray:
    """Average blocks of 2x2 pixels."""
    return (field[::2, ::2] + field[1::2, ::2] + field[::2, 1::2] + field[1::2, 1::2]) / 4


def _double(field: np.ndarray) -> np.ndarray:
    """Enlarge a field (h, w, C) to twice its size by linear interpolation."""
    for axis in (0, 1):
        before, after = np.roll(field, 1, axis), np.roll(field, -1, axis)
        halves = np.stack([0.75 * field + 0.25 * before, 0.75 * field + 0.25 * after], axis + 1)
        shape = list(field.shape)
        shape[axis] *= 2
        field = halves.reshape(shape)
    return field


def _masked_blur(field: np.ndarray, weight: np.ndarray, sigma: float) -> np.ndarray:
    """Blur (h, w, C) at half size by a Gaussian in which pixels count by their ``weight`` (h, w, 1)."""
    sigmas = (sigma / 2, sigma / 2, 0)
    return gaussian_filter(field * weight, sigmas) / gaussian_filter(weight, sigmas)
