"""Soft, disjoint region masks of an aligned face: where makeup may go, and how much of it.

The masks of a picture lie in [0, 1] and sum to at most 1. Eyes are the ring around the eyeball without the eyeball,
lips are without teeth and the open mouth, and skin stops at hair, beard, glasses and cloth.
"""

import numpy as np
from PIL import Image, ImageFilter
from scipy.spatial import Delaunay

from dda.faces.face_mesh import EYE_OUTLINES, MeshFace
from dda.faces.parsing.color_statistics import log_colors
from dda.faces.parsing.lips import LIPS_OUTER, find_lips
from dda.faces.region_masks import RegionMasks
from dda.faces.soft_masks import ramp, soft_polygons

FACE_OVAL = (10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377) + (
    152,
    148,
    176,
    149,
    150,
    136,
    172,
    58,
    132,
    93,
    234,
    127,
    162,
    21,
    54,
    103,
    67,
    109,
)
# Upper edge, then lower edge, both from the temple inwards.
BROWS = (
    ((70, 63, 105, 66, 107), (46, 53, 52, 65, 55)),
    ((300, 293, 334, 296, 336), (276, 283, 282, 295, 285)),
)
# Brow line, outer corner, cheek side of the lower lid, inner corner: all that eye makeup may reach.
EYE_SURROUNDS = (
    (46, 53, 52, 65, 55, 193, 244, 233, 232, 231, 230, 229, 228, 31, 226, 35, 124),
    (276, 283, 282, 295, 285, 417, 464, 453, 452, 451, 450, 449, 448, 261, 446, 265, 353),
)

FOREHEAD = 0.12
"""How far above the mesh the forehead reaches, in face heights; where it is shorter, hair stops the mask."""

SKIN_SPREAD = np.array([0.24, 0.07, 0.09])
"""Least spread of skin in log lightness, log red over green and log green over blue."""

RIDGE = np.diag([0, 1, 3, 5, 5, 20]) * 0.02
STIFF = (1, 10, 10)
"""How much the fit of skin color resists slopes and bends (1, x, y, xx, xy, yy), and how stiff each color is."""

SHINE = 0.6
"""Weight of a departure towards the light."""

LID = 11
"""How far the lids reach around the eyeball, in hundredths of the distance between the eyes."""

COVERED = (0.28, 0.45)
"""An eye of whose surround less than this share looks like skin lies under glasses or hair; above it is bare."""

PALE = (-0.23, -0.18)
"""Log red over green around the eyes, less that of this face's skin: less is what a mirrored lens reflects, for lids
and the shadows under eyes are as red as skin, or redder."""

BOTH = 1 / 6
"""How much the other eye tells of that: makeup on one eye alone looks like a mistake."""

TURNED = 15.0
"""Degrees from which a head is turned so far that nose and lips may stand before the far side of the mesh's oval."""

MIN_EYE_WIDTH = 0.35
"""An eye narrower than this share of the other one is turned away: it gets no mask."""


def _outside_oval(face: MeshFace) -> list[np.ndarray]:
    """Polygons that cover what of a turned face may stand before its oval: the triangles of the mesh, (3, 2) each.

    The mesh comes without triangles; those of its points, unrolled to look ahead, do as well (Delaunay).
    """
    if abs(face.yaw) < TURNED:
        return []
    across, down = face.landmarks[454] - face.landmarks[234], face.landmarks[152] - face.landmarks[10]
    ahead, _ = np.linalg.qr(np.stack([across, down], 1))
    return list(face.points[Delaunay(face.landmarks @ ahead).simplices])


def mesh_regions(image: np.ndarray, face: MeshFace) -> RegionMasks[MeshFace]:
    """Region masks of ``face`` in ``image`` (uint8 (H, H, 3), aligned), from its mesh and the picture's own colors."""
    size = image.shape[0]
    unit = face.unit

    def shape(polygons: list[np.ndarray], feather: float, grow: float = 0.0) -> np.ndarray:
        return soft_polygons(polygons, size, feather * unit, grow * unit)

    points = face.points
    sides = [side for side in (0, 1) if _faces_camera(points, side)]
    before = _outside_oval(face)
    oval = np.maximum(shape([_to_hairline(points)], feather=5, grow=4), shape(before, feather=2))
    eyeballs = shape([points[list(EYE_OUTLINES[side])] for side in sides], feather=0.8)
    surrounds = [shape([points[list(EYE_SURROUNDS[side])]], feather=5) for side in sides]
    brows = [shape([brow_outline(points, side)], feather=2.5) for side in sides]
    mouth, lips = find_lips(image, face)

    bare = oval * (1 - mouth) * (1 - eyeballs)
    for mask in surrounds + brows:
        bare = bare * (1 - mask)
    # What lies around the lips and is not lip is skin, whatever its color: it is their shadow, or their blurred edge.
    # Only where lips were found: a scarf over the mouth has none.
    quarter = Image.fromarray((mouth * 255).astype(np.uint8)).reduce(4).filter(ImageFilter.GaussianBlur(5 / 4 * unit))
    near_lips = quarter.resize(mouth.shape, Image.Resampling.BILINEAR)
    around_mouth = shape([points[list(LIPS_OUTER)]], feather=2, grow=5) * ramp(np.asarray(near_lips) / 255, 0.02, 0.1)
    likeness, redness = _skin_likeness(image, face, bare)
    likeness = np.maximum(likeness, around_mouth)

    lids = [shape([points[list(EYE_OUTLINES[side])]], feather=3, grow=LID) for side in sides]
    beyond = [surround * (1 - lid) for surround, lid in zip(surrounds, lids, strict=True)]
    # A lens is unlike skin all around the lid.
    bare_skin = np.array([(likeness * mask).sum() / max(mask.sum(), 1.0) for mask in beyond])
    in_sight = ramp(bare_skin + 2 * BOTH * (bare_skin.mean() - bare_skin), *COVERED)
    around = sum(seen * mask for seen, mask in zip(in_sight, beyond, strict=True))
    in_sight = in_sight * ramp((redness * around).sum() / max(np.sum(around), 1.0), *PALE)
    eyes = np.zeros_like(oval)
    brow = np.zeros_like(oval)
    for seen, surround, hair, lid in zip(in_sight, surrounds, brows, lids, strict=True):
        # Lashes and creases of a lid are dark and belong to it.
        eyes = np.maximum(eyes, surround * (1 - hair) * np.maximum(likeness, lid) * seen)
        brow = np.maximum(brow, hair * seen)

    masks = (
        eyes * (1 - eyeballs) * oval,
        lips * oval,
        bare * likeness,
        brow * oval,
    )
    outline = soft_polygons([points[list(FACE_OVAL)], *before], size, 1.0)  # with an edge of a pixel
    return RegionMasks(_disjoint(np.stack(masks).astype(np.float32)), outline, face)


def _disjoint(masks: np.ndarray) -> np.ndarray:
    """Soft edges that meet may sum to a hair over 1."""
    return masks / np.maximum(masks.sum(0), 1)


def brow_outline(points: np.ndarray, side: int) -> np.ndarray:
    """Outline (10, 2) of a brow, side 0 being image-left: the mesh's own edges lie a little above the hair."""
    upper, lower = (points[list(edge)] for edge in BROWS[side])
    down = lower - upper
    return np.concatenate([upper + 0.2 * down, (lower + 0.5 * down)[::-1]])


def _to_hairline(points: np.ndarray) -> np.ndarray:
    """The mesh's face oval (36, 2) with its top, which lies mid-forehead, raised towards the hairline."""
    up = points[10] - points[152]
    oval = points[list(FACE_OVAL)]
    height = (oval - points[list(EYE_OUTLINES[0] + EYE_OUTLINES[1])].mean(0)) @ up / (up @ up)
    return oval + FOREHEAD * np.clip(height / height.max(), 0, 1)[:, None] * up


def _faces_camera(points: np.ndarray, side: int) -> bool:
    widths = [float(np.hypot(*(points[outline[8]] - points[outline[0]]))) for outline in EYE_OUTLINES]
    return widths[side] >= MIN_EYE_WIDTH * widths[1 - side]


def _skin_likeness(image: np.ndarray, face: MeshFace, sure: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much each pixel looks like this face's own skin, in [0, 1], and its log red over green, less the skin's.

    Both (H, W) float32.

    Skin color over a face is smooth: a quadratic in x and y is fitted to it, robustly, in logarithms
    (lightness, red over green, green over blue), so that a light from the side is no occlusion.
    What departs from it (hair, beard, frames, cloth) fades out.
    """
    size = len(image)
    half = Image.fromarray(image).reduce(2).filter(ImageFilter.GaussianBlur(size / 512))
    colors = np.stack(log_colors(np.asarray(half)))
    y, x = (np.mgrid[: half.height, : half.width] + 0.5 - face.points.mean(0)[::-1, None, None] / 2) / (face.size / 4)
    basis = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y]).astype(np.float32)
    weight = np.asarray(Image.fromarray(sure).resize(half.size, Image.Resampling.BOX))
    # Below the brows only: a fringe over the forehead would pass for a shadow.
    brow_line = face.points[[105, 334], 1].mean() / 2
    weight = weight * (np.arange(half.height)[:, None] > brow_line)
    rows = np.flatnonzero(weight.ravel() > 0.9)[::5]
    if len(rows) < 50:
        return np.ones_like(sure), np.zeros_like(sure)
    fit, spread = _robust_fit(basis.reshape(6, -1)[:, rows].T, colors.reshape(3, -1)[:, rows].T)
    departure = colors - np.tensordot(fit.T, basis, 1)
    error = departure / spread[:, None, None]
    # Shine on skin is much brighter than the fit, and paler; a lens is only paler.
    distance = np.sqrt((error**2).sum(0)) * (1 - (1 - SHINE) * ramp(error[0], 0.5, 2.0))
    likeness = ((1 - ramp(distance, 2.5, 4.5)) * 255).astype(np.uint8)
    soft = Image.fromarray(likeness).filter(ImageFilter.GaussianBlur(size / 400))
    redness = Image.fromarray(departure[1].astype(np.float32))
    whole = [picture.resize((size, size), Image.Resampling.BILINEAR) for picture in (soft, redness)]
    return np.asarray(whole[0], np.float32) / 255, np.asarray(whole[1])


def _robust_fit(basis: np.ndarray, colors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (6, 3) and spreads (3,) of colors (N, 3) on a basis (N, 6), by reweighted least squares.

    It starts from the middle of the face, which is covered least often; and light may fall off over a face, but
    its hue hardly turns.
    """
    weight = np.exp(-4 * (basis[:, 3] + basis[:, 5]))
    for _ in range(6):
        weighted = basis * weight[:, None]
        normal, moment = weighted.T @ basis, weighted.T @ colors
        ridge = RIDGE * weight.sum()
        fit = np.stack(
            [np.linalg.solve(normal + stiff * ridge, column) for stiff, column in zip(STIFF, moment.T, strict=True)], 1
        )
        error = colors - basis @ fit
        trusted = weight > 0.3 * weight.max()
        spread = np.maximum(1.5 * np.median(np.abs(error[trusted]), axis=0), SKIN_SPREAD)
        weight = 1 / (1 + ((error / spread) ** 2).sum(1) / 4) ** 2
    return fit, spread
