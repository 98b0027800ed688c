"""Region masks drawn from the face mesh, limited by the picture's own colors.

The masks lie in [0, 1] and sum to at most 1. Eyes are the ring around the eyeball without the eyeball, lips are without
teeth and the oral cavity, and skin stops at hair, beard, glasses and cloth.

Lengths are in face units (:attr:`dda.faces.face.Face.unit_px`). The constants are heuristics.
"""

import numpy as np
from PIL import Image, ImageFilter
from scipy.spatial import Delaunay

from dda.faces.face_mesh import EYE_OUTLINES, MeshFace
from dda.faces.parsing.color_statistics import compute_log_colors
from dda.faces.parsing.lips import LIPS_OUTER, find_lips
from dda.faces.region_masks import RegionMasks
from dda.faces.soft_masks import draw_soft_polygons, smoothstep

FACE_OVAL = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
    152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
# Upper edge, then lower edge, both from the temple inward.
BROWS = (
    ((70, 63, 105, 66, 107), (46, 53, 52, 65, 55)),
    ((300, 293, 334, 296, 336), (276, 283, 282, 295, 285)),
)
# Brow line, outer corner, cheek side of the lower lid, inner corner: the area that eye makeup may cover.
EYE_SURROUNDS = (
    (46, 53, 52, 65, 55, 193, 244, 233, 232, 231, 230, 229, 228, 31, 226, 35, 124),
    (276, 283, 282, 295, 285, 417, 464, 453, 452, 451, 450, 449, 448, 261, 446, 265, 353),
)

FOREHEAD_HEIGHT_RATIO = 0.12
"""Height by which the forehead exceeds the mesh, in heights of the mesh; where it is lower, hair stops the mask."""

MIN_SKIN_SPREAD = np.array([0.24, 0.07, 0.09])
"""Smallest spread of skin color around its fit: log lightness, log red over green, log green over blue."""

RIDGE_PENALTY = np.diag([0, 1, 3, 5, 5, 20]) * 0.02
"""Ridge regression's penalty of the terms 1, x, y, xx, xy, yy of the skin color's fit."""

CHANNEL_PENALTY_SCALES = (1, 10, 10)
"""Factors on the ridge penalty for lightness and the two chromaticities: light falls off, its hue hardly changes."""

HIGHLIGHT_DISTANCE_WEIGHT = 0.6
"""Factor on the color distance of pixels brighter than the fit: highlights are skin."""

LID_WIDTH_UNITS = 11
"""Width of the lids around the eyeball."""

VISIBLE_EYE_SKIN_RANGE = (0.28, 0.45)
"""Shares of an eye's surround that look like skin between which the eye counts as hidden (below) or bare (above)."""

VISIBLE_EYE_REDNESS_RANGE = (-0.23, -0.18)
"""Log red over green around the eyes, relative to this face's skin, from hidden (below) to bare (above).

Lids and shadows under the eyes are as red as skin or redder; what a mirrored lens reflects is less red.
"""

OTHER_EYE_WEIGHT = 1 / 6
"""Weight of the other eye's share of skin: makeup on one eye alone looks like a mistake."""

MIN_TURNED_YAW_DEG = 15.0
"""Yaw from which nose and lips may extend beyond the far side of the mesh's oval."""

MIN_EYE_WIDTH_RATIO = 0.35
"""Width of an eye relative to the other one below which it is turned away and gets no mask."""


def draw_region_masks(image: np.ndarray, face: MeshFace) -> RegionMasks[MeshFace]:
    """Draw the region masks of a face in its aligned picture, from its mesh and the picture's own colors.

    Args:
        image: uint8 (H, H, 3).
        face: in pixels of the picture.
    """
    size = image.shape[0]
    unit = face.unit_px

    def draw(polygons: list[np.ndarray], feather: float, grow: float = 0.0) -> np.ndarray:
        return draw_soft_polygons(polygons, size, feather * unit, grow * unit)

    # 1. Shapes from the mesh.
    points = face.points
    sides = [side for side in (0, 1) if _faces_camera(points, side)]
    triangles = _triangulate_turned_face(face)
    oval = np.maximum(draw([_raise_to_hairline(points)], feather=5, grow=4), draw(triangles, feather=2))
    eyeballs = draw([points[list(EYE_OUTLINES[side])] for side in sides], feather=0.8)
    surrounds = [draw([points[list(EYE_SURROUNDS[side])]], feather=5) for side in sides]
    brows = [draw([compute_brow_outline(points, side)], feather=2.5) for side in sides]
    lids = [draw([points[list(EYE_OUTLINES[side])]], feather=3, grow=LID_WIDTH_UNITS) for side in sides]
    mouth, lips = find_lips(image, face)

    # 2. Skin: what is left of the oval, where it looks like this face's skin.
    skin_area = oval * (1 - mouth) * (1 - eyeballs)
    for mask in surrounds + brows:
        skin_area = skin_area * (1 - mask)
    similarity, redness = _compare_to_skin(image, face, skin_area)
    # The rim of the lips is skin whatever its color: a shadow of the lips or their blurred edge. Only where lips were
    # found: a scarf over the mouth has none.
    quarter = Image.fromarray((mouth * 255).astype(np.uint8)).reduce(4).filter(ImageFilter.GaussianBlur(5 / 4 * unit))
    near_lips = quarter.resize(mouth.shape, Image.Resampling.BILINEAR)
    lip_rim = draw([points[list(LIPS_OUTER)]], feather=2, grow=5) * smoothstep(np.asarray(near_lips) / 255, 0.02, 0.1)
    similarity = np.maximum(similarity, lip_rim)

    # 3. Eyes and brows, unless something hides them. A lens is unlike skin all around the lid.
    rings = [surround * (1 - lid) for surround, lid in zip(surrounds, lids, strict=True)]
    skin_shares = np.array([(similarity * ring).sum() / max(ring.sum(), 1.0) for ring in rings])
    skin_shares = skin_shares + 2 * OTHER_EYE_WEIGHT * (skin_shares.mean() - skin_shares)
    visibilities = smoothstep(skin_shares, *VISIBLE_EYE_SKIN_RANGE)
    visible_ring = sum(visibility * ring for visibility, ring in zip(visibilities, rings, strict=True))
    mean_redness = (redness * visible_ring).sum() / max(np.sum(visible_ring), 1.0)
    visibilities = visibilities * smoothstep(mean_redness, *VISIBLE_EYE_REDNESS_RANGE)
    eye_mask = np.zeros_like(oval)
    brow_mask = np.zeros_like(oval)
    for visibility, surround, brow, lid in zip(visibilities, surrounds, brows, lids, strict=True):
        # Lashes and creases of a lid are dark and belong to it.
        eye_mask = np.maximum(eye_mask, surround * (1 - brow) * np.maximum(similarity, lid) * visibility)
        brow_mask = np.maximum(brow_mask, brow * visibility)

    masks = (
        eye_mask * (1 - eyeballs) * oval,
        lips * oval,
        skin_area * similarity,
        brow_mask * oval,
    )
    outline = draw_soft_polygons([points[list(FACE_OVAL)], *triangles], size, feather=1.0)
    return RegionMasks(_normalize_masks(np.stack(masks).astype(np.float32)), outline, face)


def compute_brow_outline(points: np.ndarray, side: int) -> np.ndarray:
    """Compute the outline (10, 2) of a brow, side 0 being image-left; the mesh's own edges lie a little above the hair.

    Args:
        points: landmarks (468, 2).
        side: 0 or 1.
    """
    upper, lower = (points[list(edge)] for edge in BROWS[side])
    down = lower - upper
    return np.concatenate([upper + 0.2 * down, (lower + 0.5 * down)[::-1]])


def _triangulate_turned_face(face: MeshFace) -> list[np.ndarray]:
    """Return the mesh's triangles (3, 2) in the picture if the face is turned: they cover its nose and lips.

    MediaPipe's models give no triangles. These are the Delaunay triangulation of the landmarks in frontal view.
    """
    if abs(face.yaw) < MIN_TURNED_YAW_DEG:
        return []
    across, down = face.landmarks[454] - face.landmarks[234], face.landmarks[152] - face.landmarks[10]
    frontal_plane, _ = np.linalg.qr(np.stack([across, down], 1))
    return list(face.points[Delaunay(face.landmarks @ frontal_plane).simplices])


def _normalize_masks(masks: np.ndarray) -> np.ndarray:
    """Normalize: feathered masks can sum to slightly more than 1 where they overlap."""
    return masks / np.maximum(masks.sum(0), 1)


def _raise_to_hairline(points: np.ndarray) -> np.ndarray:
    """Return the mesh's face oval (36, 2), its top raised from mid-forehead toward the hairline."""
    up = points[10] - points[152]
    oval = points[list(FACE_OVAL)]
    height = (oval - points[list(EYE_OUTLINES[0] + EYE_OUTLINES[1])].mean(0)) @ up / (up @ up)
    return oval + FOREHEAD_HEIGHT_RATIO * np.clip(height / height.max(), 0, 1)[:, None] * up


def _faces_camera(points: np.ndarray, side: int) -> bool:
    widths = [float(np.hypot(*(points[outline[8]] - points[outline[0]]))) for outline in EYE_OUTLINES]
    return widths[side] >= MIN_EYE_WIDTH_RATIO * widths[1 - side]


def _compare_to_skin(image: np.ndarray, face: MeshFace, skin_area: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compare every pixel to this face's own skin.

    Skin color over a face is smooth: a quadratic in x and y is fitted to the log colors by robust regression, so that
    light from the side does not count as an occlusion. Hair, beard, frames and cloth depart from the fit.

    Args:
        image: uint8 (H, H, 3).
        face: in pixels of the picture.
        skin_area: (H, H) in [0, 1], where the mesh expects skin.

    Returns:
        Two pictures (H, H) float32: similarity to skin, in [0, 1]; and log red over green, relative to the fit.
    """
    size = len(image)
    half = Image.fromarray(image).reduce(2).filter(ImageFilter.GaussianBlur(size / 512))
    colors = np.stack(compute_log_colors(np.asarray(half)))
    y, x = (np.mgrid[: half.height, : half.width] + 0.5 - face.points.mean(0)[::-1, None, None] / 2) / (face.size / 4)
    basis = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y]).astype(np.float32)
    weight = np.asarray(Image.fromarray(skin_area).resize(half.size, Image.Resampling.BOX))
    # Below the brows only: a fringe over the forehead would pass for a shadow.
    brow_line = face.points[[105, 334], 1].mean() / 2
    weight = weight * (np.arange(half.height)[:, None] > brow_line)
    rows = np.flatnonzero(weight.ravel() > 0.9)[::5]
    if len(rows) < 50:
        return np.ones_like(skin_area), np.zeros_like(skin_area)
    coefficients, spread = _fit_skin_colors(basis.reshape(6, -1)[:, rows].T, colors.reshape(3, -1)[:, rows].T)
    residual = colors - np.tensordot(coefficients.T, basis, 1)
    error = residual / spread[:, None, None]
    # A highlight on skin is much brighter than the fit, and paler; a lens is only paler.
    highlight = smoothstep(error[0], 0.5, 2.0)
    distance = np.sqrt((error**2).sum(0)) * (1 - (1 - HIGHLIGHT_DISTANCE_WEIGHT) * highlight)
    similarity = Image.fromarray(((1 - smoothstep(distance, 2.5, 4.5)) * 255).astype(np.uint8))
    similarity = similarity.filter(ImageFilter.GaussianBlur(size / 400))
    redness = Image.fromarray(residual[1].astype(np.float32))
    full = [picture.resize((size, size), Image.Resampling.BILINEAR) for picture in (similarity, redness)]
    return np.asarray(full[0], np.float32) / 255, np.asarray(full[1])


def _fit_skin_colors(basis: np.ndarray, colors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit skin colors by robust ridge regression; return coefficients (6, 3) and spreads (3,).

    Iteratively reweighted least squares (IRLS) with Geman-McClure weights (Holland and Welsch 1977; Geman and McClure
    1987) and the median absolute deviation as the spread. The first weights favor the middle of the face, which is
    covered least often.

    Args:
        basis: the terms 1, x, y, xx, xy, yy of N pixels, (N, 6).
        colors: their log colors, (N, 3).
    """
    weight = np.exp(-4 * (basis[:, 3] + basis[:, 5]))
    for _ in range(6):
        weighted_basis = basis * weight[:, None]
        normal_matrix, moments = weighted_basis.T @ basis, weighted_basis.T @ colors
        ridge = RIDGE_PENALTY * weight.sum()
        channels = zip(CHANNEL_PENALTY_SCALES, moments.T, strict=True)
        coefficients = np.stack(
            [np.linalg.solve(normal_matrix + scale * ridge, moment) for scale, moment in channels], 1
        )
        error = colors - basis @ coefficients
        trusted = weight > 0.3 * weight.max()
        spread = np.maximum(1.5 * np.median(np.abs(error[trusted]), axis=0), MIN_SKIN_SPREAD)
        weight = 1 / (1 + ((error / spread) ** 2).sum(1) / 4) ** 2
    return coefficients, spread
