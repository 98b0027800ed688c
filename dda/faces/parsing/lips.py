"""Lips: a prior from the face mesh, refined by the picture's own colors.

Linear discriminant analysis (LDA) of the colors, combined with the mesh as a prior. With d the distance inside the
mesh's outer lip line,

    logit p(lip | color, place) = d / LIP_LOGIT_SCALE_UNITS + clip(log p(color | lip) / p(color | skin)).

The mesh fits the lips of most people; thin, full or unevenly lit lips end elsewhere. The two classes are learned from
the same face, from pixels well inside the line and well outside. Where they look alike, the mesh decides. Well inside
the line the color of skin does not count against a lip, since one of the two lips may be brown.

Lengths are in face units (:attr:`dda.faces.face.Face.unit_px`). The constants are heuristics.
"""

import numpy as np
from scipy import ndimage
from scipy.special import expit

from dda.faces.face_mesh import MeshFace
from dda.faces.parsing.color_statistics import (
    compute_log_colors,
    compute_log_likelihood_ratio,
    compute_squared_mahalanobis,
)
from dda.faces.parsing.teeth import MIN_EXAMPLES, MIN_LIP_REDNESS, find_mouth_interior
from dda.faces.soft_masks import draw_soft_polygons, smoothstep

LIPS_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
LIPS_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)

LIP_LOGIT_SCALE_UNITS = 5.0
"""Distance inside the outer lip line over which the odds of a lip rise by a factor of e."""

LIP_EDGE_OFFSET_UNITS = 0.5
"""Distance inside the outer lip line at which lips end on average: the odds are even there."""

MAX_COLOR_LOGIT = 2.0
"""Bound of the log-likelihood ratio of the color: it moves the edge of a lip and makes no lips elsewhere."""

LIP_INTERIOR_RANGE_UNITS = (1.5, 4.5)
"""Distances inside the outer lip line between which the color of skin ceases to count against a lip."""

SKIN_MAHALANOBIS_RANGE = (9.0, 20.0)
"""Squared Mahalanobis distances from skin between which a color ceases to be skin's."""

MIN_LIP_EXAMPLE_DISTANCE_UNITS = 2.0
"""Distance inside the outer lip line from which a pixel is an example of a lip."""

SKIN_EXAMPLE_RANGE_UNITS = (4.0, 12.0)
"""Distances outside the outer lip line between which a pixel is an example of skin."""

LIP_FADE_RANGE_UNITS = (5.0, 9.0)
"""Distances outside the outer lip line between which lips fade to 0, whatever their color."""

COLOR_BLUR_SIGMA_UNITS, LOGIT_BLUR_SIGMA_UNITS = 0.5, 1.5
"""Sigmas of the Gaussian blurs of the colors and of the logit."""

MIN_TEETH_CLEARANCE_UNITS = 3.5
"""Distance outside the inner lip line of an open mouth from which a pixel may be an example of a lip."""

MIN_OPEN_GAP_UNITS = 2.5
"""Distance between the inner edges of the lips from which a mouth is open."""


def find_lips(image: np.ndarray, face: MeshFace) -> tuple[np.ndarray, np.ndarray]:
    """Find the mouth and the lips of a face in its aligned picture.

    Args:
        image: uint8 (H, H, 3).
        face: in pixels of the picture.

    Returns:
        Two masks (H, H) float32 in [0, 1]: the mouth, which is the lips and everything between them; and the lips
        without teeth and oral cavity.
    """
    size, unit = len(image), face.unit_px
    outer, inner = face.points[list(LIPS_OUTER)], face.points[list(LIPS_INNER)]
    mouth, lips = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
    margin = (SKIN_EXAMPLE_RANGE_UNITS[1] + 1) * unit
    low = np.clip(np.floor(outer.min(0) - margin), 0, size).astype(int)
    high = np.clip(np.ceil(outer.max(0) + margin), 0, size).astype(int)
    window = np.s_[low[1] : high[1], low[0] : high[0]]
    inside_outer = draw_soft_polygons([outer], size, 0.1)[window] > 0.5
    if not inside_outer.any():  # the mouth is outside the picture
        return mouth, lips
    distance = _compute_signed_distance(inside_outer) / unit
    sigma = COLOR_BLUR_SIGMA_UNITS * unit
    colors = ndimage.gaussian_filter(np.stack(compute_log_colors(image[window])), (0, sigma, sigma))
    lip_examples = (distance > MIN_LIP_EXAMPLE_DISTANCE_UNITS) & (colors[1] > MIN_LIP_REDNESS)
    interior = np.zeros_like(distance)
    inside_inner = draw_soft_polygons([inner], size, 0.1)[window] > 0.5
    if _measure_lip_gap(face) > MIN_OPEN_GAP_UNITS and inside_inner.any():
        inner_distance = _compute_signed_distance(inside_inner) / unit
        lip_examples &= inner_distance < -MIN_TEETH_CLEARANCE_UNITS
        interior = find_mouth_interior(colors, distance > MIN_LIP_EXAMPLE_DISTANCE_UNITS, inner_distance)
    near_lips = smoothstep(distance, -LIP_FADE_RANGE_UNITS[1], -LIP_FADE_RANGE_UNITS[0])
    probability = expit(_compute_lip_logit(colors, distance, lip_examples, unit)) * near_lips
    mouth[window] = np.maximum(probability, interior)
    lips[window] = probability * (1 - interior)
    return mouth, lips


def _measure_lip_gap(face: MeshFace) -> float:
    """Measure the distance between the inner edges of the lips, in face units."""
    return float(np.hypot(*(face.points[14] - face.points[13]))) / face.unit_px


def _compute_signed_distance(mask: np.ndarray) -> np.ndarray:
    """Compute the signed distance (h, w) from the edge of a mask in pixels, positive inside."""
    return ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(~mask) + np.where(mask, -0.5, 0.5)


def _compute_lip_logit(
    colors: np.ndarray, distance: np.ndarray, lip_examples: np.ndarray, unit_px: float
) -> np.ndarray:
    """Compute logit p(lip | color, place), (h, w).

    Args:
        colors: log colors (3, h, w).
        distance: (h, w), signed distance from the outer lip line in face units, positive inside.
        lip_examples: bool (h, w).
        unit_px: length of a face unit in pixels.
    """
    logit = (distance - LIP_EDGE_OFFSET_UNITS) / LIP_LOGIT_SCALE_UNITS
    skin_start, skin_end = SKIN_EXAMPLE_RANGE_UNITS
    skin_examples = (distance < -skin_start) & (distance > -skin_end)
    if min(lip_examples.sum(), skin_examples.sum()) >= MIN_EXAMPLES:
        skin_distance = compute_squared_mahalanobis(colors, skin_examples)
        brown_lip = smoothstep(distance, *LIP_INTERIOR_RANGE_UNITS) * (
            1 - smoothstep(skin_distance, *SKIN_MAHALANOBIS_RANGE)
        )
        max_skin_logit = MAX_COLOR_LOGIT * (1 - brown_lip)
        color_logit = compute_log_likelihood_ratio(colors, lip_examples, skin_examples)
        logit = logit + np.clip(color_logit, -max_skin_logit, MAX_COLOR_LOGIT)
    return ndimage.gaussian_filter(logit, LOGIT_BLUR_SIGMA_UNITS * unit_px)
