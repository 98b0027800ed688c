"""Eye makeup: shadow, liner and lashes in a frame of coordinates that follows each eye's own lids."""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline

from dda.authoring.canvas import Canvas, distance_to_line, pixel_centers
from dda.authoring.recipes import Liner, Shadow
from dda.faces.face_mesh import EYE_OUTLINES
from dda.faces.soft_masks import smoothstep

# Inner to outer corner, image-left eye first: places in the eye's outline, lower edges of the brows.
UPPER_LIDS = ((8, 9, 10, 11, 12, 13, 14, 15, 0), (0, 15, 14, 13, 12, 11, 10, 9, 8))
LOWER_LIDS = ((8, 7, 6, 5, 4, 3, 2, 1, 0), (0, 1, 2, 3, 4, 5, 6, 7, 8))
BROW_EDGES = ((55, 65, 52, 53, 46), (285, 295, 282, 283, 276))
EYE_PATCHES = ((226, 190, 52), (446, 414, 282))

LINE_POINTS = 25


@dataclass
class Eye:
    """One eye on the canvas.

    ``upper`` and ``lower`` (N, 2) are its lash lines from the inner to the outer corner, ``width`` the pixels
    between the corners as seen from the front. On the part ``at``: ``x`` runs from 0 at the inner to 1 at the
    outer corner, ``up`` from 0 at the upper lash line to 1 at the brow, ``down`` in eye widths from 0 at the
    lower lash line. ``paintable`` is how far makeup may go (less on an eye turned away), ``ground`` the lid's
    lightness.
    """

    upper: np.ndarray
    lower: np.ndarray
    width: float
    at: tuple[slice, slice]
    x: np.ndarray
    up: np.ndarray
    down: np.ndarray
    paintable: np.ndarray
    ground: float


def paint_eyes(canvas: Canvas, shadow: Shadow, liner: Liner) -> None:
    """Shadow, then liner and lashes, on both eyes."""
    widths = [np.hypot(*np.subtract(*canvas.points[[outline[0], outline[8]]])) for outline in EYE_OUTLINES]
    for side in (0, 1):
        eye = _find_eye(canvas, side, widths[side], widths[1 - side])
        if eye is None:
            continue
        if shadow.coverage:
            _shadow(canvas, eye, shadow)
        if liner.coverage or liner.lashes:
            _liner(canvas, eye, liner)


def _find_eye(canvas: Canvas, side: int, width: float, other_width: float) -> Eye | None:
    outline = canvas.points[list(EYE_OUTLINES[side])]
    upper, lower = (_smooth(outline[list(lid[side])]) for lid in (UPPER_LIDS, LOWER_LIDS))
    brow = canvas.points[list(BROW_EDGES[side])]
    at = canvas.around(np.concatenate([outline, brow]), 0.5 * max(width, other_width))
    if canvas.masks["eyes"][at].max(initial=0) < 0.5:
        return None
    inner, axis = upper[0], (upper[-1] - upper[0]) / max(width, 1e-6)
    upward = np.array([axis[1], -axis[0]])
    if (brow.mean(0) - outline.mean(0)) @ upward < 0:
        upward = -upward

    def seen(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        offset = points - inner
        return offset @ axis / width, offset @ upward / width

    x, y = seen(pixel_centers(at))
    lid, bottom, top = (_height(x, *seen(line)) for line in (upper, lower, brow))
    gap = np.maximum(top - lid, 0.12)
    facing = canvas.facing(EYE_PATCHES[side]) * float(smoothstep(width / other_width, 0.35, 0.75))
    front_width = max(width, 0.85 * min(other_width, 60 * canvas.unit))
    paintable = facing * (canvas.masks["eyes"] + canvas.masks["skin"])[at]
    sure = (canvas.masks["eyes"][at] > 0.7) & (y > lid + 0.06)
    ground = float(np.median(canvas.bare[at][sure][:, 0])) if sure.any() else float(canvas.skin[0])
    down = (bottom - y) * width / front_width
    return Eye(upper, lower, front_width, at, x, (y - lid) / gap, down, paintable, ground)


def _smooth(points: np.ndarray) -> np.ndarray:
    """A smooth line (LINE_POINTS, 2) through ``points``, evenly spaced along them."""
    steps = np.maximum(np.hypot(*np.diff(points, axis=0).T), 1e-3)
    place = np.concatenate([[0], np.cumsum(steps)])
    return CubicSpline(place, points, bc_type="natural")(np.linspace(0, place[-1], LINE_POINTS))


def _height(x: np.ndarray, line_x: np.ndarray, line_y: np.ndarray) -> np.ndarray:
    """Height of a line at ``x``; level beyond its ends."""
    order = np.argsort(line_x, kind="stable")
    return np.interp(x, line_x[order], line_y[order])


def _shadow(canvas: Canvas, eye: Eye, shadow: Shadow) -> None:
    """Color on the lid, fading to brow and temple, deeper in the fold, with a share under the eye."""
    x, up = eye.x, eye.up - 0.5 * np.clip(eye.x - 1, 0, 1)  # the wing climbs
    along = smoothstep(x, -0.12, 0.22) * (1 - smoothstep(x, 0.9, 1.15 + shadow.wing))
    # Highest over the outer half of the iris, rounded to both sides.
    reach = shadow.reach * (1 - 0.6 * np.minimum(((x - 0.62) / 0.75) ** 2, 1))
    lid = smoothstep(up, -0.12, 0.0) * (1 - smoothstep(up / reach, 0.25, 1.0)) * along
    under = smoothstep(eye.down, -0.06, 0.0) * np.exp(-((np.maximum(eye.down, 0) / 0.09) ** 2))
    under *= smoothstep(x, 0.0, 0.5) * (1 - smoothstep(x, 1.0, 1.08 + 0.6 * shadow.wing))
    alpha = shadow.coverage * np.maximum(lid, shadow.lower * under) * eye.paintable
    pigment = canvas.adapted(shadow.color, 0.8, light=0.8)
    pigment = pigment * min(1.0, 0.96 * eye.ground / pigment[0])
    canvas.cover(pigment, alpha, eye.ground, eye.at)
    fold = np.exp(-(((up - 0.38 * shadow.reach - 0.1) / 0.22) ** 2)) * smoothstep(x, 0.25, 0.85) * along
    canvas.lab[eye.at] *= 1 - (0.3 * shadow.crease * shadow.coverage * fold * eye.paintable)[..., None]
    middle = np.exp(-(((x - 0.45) / 0.22) ** 2) - ((up - 0.15) / 0.15) ** 2)
    gleam = 0.25 * shadow.shimmer * middle * eye.paintable
    canvas.lab[eye.at] *= 1 + gleam[..., None] * np.clip(1.2 - canvas.lab[eye.at][..., :1], 0, 1)


def _liner(canvas: Canvas, eye: Eye, liner: Liner) -> None:
    """A line along the lashes, thin at the inner corner, with its wing; darker lashes; a soft line below."""
    at, width = pixel_centers(eye.at), eye.width
    pigment = canvas.adapted(liner.color, 0.3)
    if liner.lashes:
        away, place = distance_to_line(at, eye.upper)
        lashes = np.exp(-((away / (0.05 * width)) ** 2)) * smoothstep(place, 0.05, 0.5) * (eye.up > -0.3)
        canvas.lab[eye.at] *= 1 - (0.4 * liner.lashes * lashes * eye.paintable)[..., None]
    if not liner.coverage:
        return
    line, ends = _with_wing(eye, liner)
    away, place = distance_to_line(at, line)
    thickness = liner.thickness * width * np.interp(place, [0, 0.5 * ends, ends, 1], [0.25, 0.7, 1.0, 0.0])
    drawn = np.clip((thickness - away) / 1.2 + 0.5, 0, 1) * smoothstep(place, 0.0, 0.12)
    canvas.cover(pigment, liner.coverage * drawn * eye.paintable, canvas.skin[0], eye.at)
    if liner.lower:
        away, place = distance_to_line(at, eye.lower)
        soft = np.exp(-((away / (0.035 * width)) ** 2)) * smoothstep(place, 0.2, 0.9)
        canvas.cover(pigment, 0.8 * liner.lower * liner.coverage * soft * eye.paintable, canvas.skin[0], eye.at)


def _with_wing(eye: Eye, liner: Liner) -> tuple[np.ndarray, float]:
    """The upper lash line with its wing, and the place in [0, 1] where the wing starts."""
    if liner.wing == 0 or eye.paintable.max() < 0.5:
        return eye.upper, 0.85
    axis = (eye.upper[-1] - eye.upper[0]) / np.hypot(*(eye.upper[-1] - eye.upper[0]))
    upward = np.array([axis[1], -axis[0]])
    if (eye.upper.mean(0) - eye.lower.mean(0)) @ upward < 0:
        upward = -upward
    # The line leaves the lashes before they dip into the corner and swings out in one curve.
    lash = eye.upper[: round(0.86 * LINE_POINTS)]
    tip = eye.upper[-1] + liner.wing * eye.width * (axis + liner.lift * upward) / np.hypot(1, liner.lift)
    ahead = (lash[-1] - lash[-3]) / np.hypot(*(lash[-1] - lash[-3]))
    turn = lash[-1] + 0.5 * np.hypot(*(eye.upper[-1] - lash[-1])) * ahead
    t = np.linspace(0, 1, 8)[1:, None]
    line = np.concatenate([lash, (1 - t) ** 2 * lash[-1] + 2 * t * (1 - t) * turn + t**2 * tip])
    lengths = np.hypot(*np.diff(line, axis=0).T)
    return line, float(lengths[: len(lash)].sum() / lengths.sum())
