"""Eye makeup: shadow, liner and lashes in coordinates that follow the lids of each eye. The amounts are heuristics."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from dda.authoring.canvas import Canvas, Window, distance_to_line, pixel_centers
from dda.authoring.recipes import Liner, Shadow
from dda.faces.face_mesh import EYE_OUTLINES
from dda.faces.soft_masks import smoothstep

# From the inner to the outer corner, image-left eye first: positions in the eye's outline, landmarks of the mesh.
UPPER_LIDS = ((8, 9, 10, 11, 12, 13, 14, 15, 0), (0, 15, 14, 13, 12, 11, 10, 9, 8))
LOWER_LIDS = ((8, 7, 6, 5, 4, 3, 2, 1, 0), (0, 1, 2, 3, 4, 5, 6, 7, 8))
BROW_LOWER_EDGES = ((55, 65, 52, 53, 46), (285, 295, 282, 283, 276))
EYE_TRIANGLES = ((226, 190, 52), (446, 414, 282))

LASH_LINE_POINTS = 25
"""Points that a lash line is resampled to."""

MIN_EYE_MASK = 0.5
"""Largest mask value below which an eye is hidden, and not painted."""


@dataclass
class Eye:
    """One eye on the canvas, with coordinates along and across its lids.

    Attributes:
        upper_lashes, lower_lashes: lash lines (N, 2) from the inner to the outer corner.
        width: pixels between the corners as seen from the front.
        window: the part of the canvas around the eye, (h, w).
        x: position along the eye (h, w): 0 at the inner corner, 1 at the outer one.
        height: height (h, w): 0 at the upper lash line, 1 at the brow.
        depth: distance below the lower lash line (h, w), in widths of the eye.
        paintable: mask (h, w) of where makeup may go; smaller on an eye turned away.
        lid_lightness: median OKLab lightness of the bare lid.
    """

    upper_lashes: np.ndarray
    lower_lashes: np.ndarray
    width: float
    window: Window
    x: np.ndarray
    height: np.ndarray
    depth: np.ndarray
    paintable: np.ndarray
    lid_lightness: float


def paint_eyes(canvas: Canvas, shadow: Shadow, liner: Liner) -> None:
    """Paint shadow, then lashes and liner, on both eyes."""
    widths = [np.hypot(*np.subtract(*canvas.points[[outline[0], outline[8]]])) for outline in EYE_OUTLINES]
    for side in (0, 1):
        eye = _measure_eye(canvas, side, widths[side], widths[1 - side])
        if eye is None:
            continue
        if shadow.coverage:
            _paint_shadow(canvas, eye, shadow)
        if liner.coverage or liner.lashes:
            _paint_liner(canvas, eye, liner)


def _measure_eye(canvas: Canvas, side: int, width: float, other_width: float) -> Eye | None:
    """Measure one eye; None if it is hidden."""
    outline = canvas.points[list(EYE_OUTLINES[side])]
    upper, lower = (_resample_curve(outline[list(lid[side])]) for lid in (UPPER_LIDS, LOWER_LIDS))
    brow = canvas.points[list(BROW_LOWER_EDGES[side])]
    window = canvas.bound_points(np.concatenate([outline, brow]), 0.5 * max(width, other_width))
    if canvas.masks["eyes"][window].max(initial=0) < MIN_EYE_MASK:
        return None
    inner_corner, axis = upper[0], (upper[-1] - upper[0]) / max(width, 1e-6)
    upward = np.array([axis[1], -axis[0]])
    if (brow.mean(0) - outline.mean(0)) @ upward < 0:
        upward = -upward

    def to_eye_axes(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        offset = points - inner_corner
        return offset @ axis / width, offset @ upward / width

    x, y = to_eye_axes(pixel_centers(window))
    lid, bottom, top = (_interpolate_height(x, *to_eye_axes(line)) for line in (upper, lower, brow))
    lid_to_brow = np.maximum(top - lid, 0.12)
    frontality = canvas.frontality(EYE_TRIANGLES[side]) * float(smoothstep(width / other_width, 0.35, 0.75))
    front_width = max(width, 0.85 * min(other_width, 60 * canvas.unit_px))
    paintable = frontality * (canvas.masks["eyes"] + canvas.masks["skin"])[window]
    is_lid = (canvas.masks["eyes"][window] > 0.7) & (y > lid + 0.06)
    lid_lightness = float(np.median(canvas.bare_lab[window][is_lid][:, 0]) if is_lid.any() else canvas.skin_color[0])
    depth = (bottom - y) * width / front_width
    return Eye(upper, lower, front_width, window, x, (y - lid) / lid_to_brow, depth, paintable, lid_lightness)


def _resample_curve(points: np.ndarray) -> np.ndarray:
    """Resample the natural cubic spline through ``points`` to (LASH_LINE_POINTS, 2), evenly along its chords."""
    chords = np.maximum(np.hypot(*np.diff(points, axis=0).T), 1e-3)
    position = np.concatenate([[0], np.cumsum(chords)])
    return CubicSpline(position, points, bc_type="natural")(np.linspace(0, position[-1], LASH_LINE_POINTS))


def _interpolate_height(x: np.ndarray, line_x: np.ndarray, line_y: np.ndarray) -> np.ndarray:
    """Interpolate the height of a line at ``x``; it is constant beyond the line's ends."""
    order = np.argsort(line_x, kind="stable")
    return np.interp(x, line_x[order], line_y[order])


def _paint_shadow(canvas: Canvas, eye: Eye, shadow: Shadow) -> None:
    """Paint the lid, fading to brow and temple, then the crease and the shimmer."""
    x, height = eye.x, eye.height - 0.5 * np.clip(eye.x - 1, 0, 1)  # rises beyond the outer corner
    along = smoothstep(x, -0.12, 0.22) * (1 - smoothstep(x, 0.9, 1.15 + shadow.wing))
    # Highest over the outer half of the iris, lower towards both corners.
    reach = shadow.reach * (1 - 0.6 * np.minimum(((x - 0.62) / 0.75) ** 2, 1))
    lid = smoothstep(height, -0.12, 0.0) * (1 - smoothstep(height / reach, 0.25, 1.0)) * along
    below = smoothstep(eye.depth, -0.06, 0.0) * np.exp(-((np.maximum(eye.depth, 0) / 0.09) ** 2))
    below *= smoothstep(x, 0.0, 0.5) * (1 - smoothstep(x, 1.0, 1.08 + 0.6 * shadow.wing))
    alpha = shadow.coverage * np.maximum(lid, shadow.lower * below) * eye.paintable
    color = canvas.adapt_pigment(shadow.color, 0.8, light_share=0.8)
    color = color * min(1.0, 0.96 * eye.lid_lightness / color[0])
    canvas.cover(color, alpha, eye.lid_lightness, eye.window)
    crease = np.exp(-(((height - 0.38 * shadow.reach - 0.1) / 0.22) ** 2)) * smoothstep(x, 0.25, 0.85) * along
    canvas.lab[eye.window] *= 1 - (0.3 * shadow.crease * shadow.coverage * crease * eye.paintable)[..., None]
    middle = np.exp(-(((x - 0.45) / 0.22) ** 2) - ((height - 0.15) / 0.15) ** 2)
    shimmer = 0.25 * shadow.shimmer * middle * eye.paintable
    canvas.lab[eye.window] *= 1 + shimmer[..., None] * np.clip(1.2 - canvas.lab[eye.window][..., :1], 0, 1)


def _paint_liner(canvas: Canvas, eye: Eye, liner: Liner) -> None:
    """Darken the lashes, then draw the line along them with its wing, and a soft line below the eye."""
    pixels, width = pixel_centers(eye.window), eye.width
    color = canvas.adapt_pigment(liner.color, 0.3)
    if liner.lashes:
        distance, position = distance_to_line(pixels, eye.upper_lashes)
        lashes = np.exp(-((distance / (0.05 * width)) ** 2)) * smoothstep(position, 0.05, 0.5) * (eye.height > -0.3)
        canvas.lab[eye.window] *= 1 - (0.4 * liner.lashes * lashes * eye.paintable)[..., None]
    if not liner.coverage:
        return
    line, wing_start = _add_wing(eye, liner)
    distance, position = distance_to_line(pixels, line)
    profile = np.interp(position, [0, 0.5 * wing_start, wing_start, 1], [0.25, 0.7, 1.0, 0.0])
    thickness = liner.thickness * width * profile
    alpha = np.clip((thickness - distance) / 1.2 + 0.5, 0, 1) * smoothstep(position, 0.0, 0.12)
    canvas.cover(color, liner.coverage * alpha * eye.paintable, canvas.skin_color[0], eye.window)
    if liner.lower:
        distance, position = distance_to_line(pixels, eye.lower_lashes)
        alpha = np.exp(-((distance / (0.035 * width)) ** 2)) * smoothstep(position, 0.2, 0.9)
        alpha = 0.8 * liner.lower * liner.coverage * alpha * eye.paintable
        canvas.cover(color, alpha, canvas.skin_color[0], eye.window)


def _add_wing(eye: Eye, liner: Liner) -> tuple[np.ndarray, float]:
    """Extend the upper lash line by the liner's wing; also return where the wing starts, in [0, 1] of the length."""
    upper = eye.upper_lashes
    if liner.wing == 0 or eye.paintable.max() < 0.5:
        return upper, 0.85
    axis = (upper[-1] - upper[0]) / np.hypot(*(upper[-1] - upper[0]))
    upward = np.array([axis[1], -axis[0]])
    if (upper.mean(0) - eye.lower_lashes.mean(0)) @ upward < 0:
        upward = -upward
    # The wing is a quadratic Bezier curve that leaves the lashes before they dip into the corner.
    lashes = upper[: round(0.86 * LASH_LINE_POINTS)]
    tip = upper[-1] + liner.wing * eye.width * (axis + liner.lift * upward) / np.hypot(1, liner.lift)
    direction = (lashes[-1] - lashes[-3]) / np.hypot(*(lashes[-1] - lashes[-3]))
    control = lashes[-1] + 0.5 * np.hypot(*(upper[-1] - lashes[-1])) * direction
    t = np.linspace(0, 1, 8)[1:, None]
    line = np.concatenate([lashes, (1 - t) ** 2 * lashes[-1] + 2 * t * (1 - t) * control + t**2 * tip])
    lengths = np.hypot(*np.diff(line, axis=0).T)
    return line, float(lengths[: len(lashes)].sum() / lengths.sum())
