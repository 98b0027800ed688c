"""Lips: the mesh says about where they are, the picture's own colors where exactly.

A mesh knows the lips of most people; thin, full or unevenly lit ones end elsewhere. So, with d the distance from the
mesh's lip line,

    logit p(lip | color, place) = d / PLACE + clip(log p(color | lip) / p(color | skin)),

the colors of either side being normal with one covariance (linear discriminant analysis), learnt from this very face:
from what lies well inside the mesh's lips, and well outside. Where the two look alike, the mesh decides; and well
inside its line the color of skin does not tell against a lip, since one of the two may be brown.
"""

import numpy as np
from scipy import ndimage
from scipy.special import expit

from dda.faces.face_mesh import MeshFace
from dda.faces.parsing.color_statistics import log_colors, log_ratio, unlikeness
from dda.faces.parsing.teeth import FEWEST, WHITE, behind_lips
from dda.faces.soft_masks import ramp, soft_polygons

LIPS_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
LIPS_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)

PLACE = 5.0
"""How far from the mesh's lip line the odds of its side have risen by e. Like all lengths here in units of the face."""

LINE = 0.5
"""How far inside the mesh's lip line lips end on average."""

MOST = 2.0
"""What color may add to the logit at most: it moves a lip's edge, and makes no lips elsewhere."""

CORE = (1.5, 4.5)
"""Between these distances inside the mesh's lip line skin's color ceases to tell against a lip: lips may be brown."""

NO_SKIN = (9.0, 20.0)
"""Between these squared Mahalanobis distances from skin, a color that is no lip's ceases to be skin's."""

SURE = 2.0
"""So far inside the mesh's lip line, a pixel serves as an example of a lip."""

BESIDE = (4.0, 12.0)
"""Between these distances outside of it, as an example of what surrounds the lips."""

REACH = (5.0, 9.0)
"""Between these distances outside of it, lips fade to nothing, whatever the colors say."""

SMOOTH = (0.5, 1.5)
"""Blur of the colors and of the logit."""

BESIDE_TEETH = 3.5
"""So far outside the mesh's inner lip line of an open mouth, too."""

OPEN = 2.5
"""Lips further apart than this may show what lies behind them."""


def find_lips(image: np.ndarray, face: MeshFace) -> tuple[np.ndarray, np.ndarray]:
    """The mouth, and the lips alone, of a face in its aligned picture.

    Args:
        image: uint8 (H, H, 3).
        face: in pixels of the picture.

    Returns:
        Two fields (H, H) float32 in [0, 1]: lips and all that lies between them; and lips without teeth and the
        dark of an open mouth.
    """
    size, unit = len(image), face.unit
    outer, inner = face.points[list(LIPS_OUTER)], face.points[list(LIPS_INNER)]
    mouth, lips = np.zeros((size, size), np.float32), np.zeros((size, size), np.float32)
    margin = (BESIDE[1] + 1) * unit
    low = np.clip(np.floor(outer.min(0) - margin), 0, size).astype(int)
    high = np.clip(np.ceil(outer.max(0) + margin), 0, size).astype(int)
    at = np.s_[low[1] : high[1], low[0] : high[0]]
    outline = soft_polygons([outer], size, 0.1)[at] > 0.5
    if not outline.any():  # the mouth is outside the picture
        return mouth, lips
    distance = _signed_distance(outline) / unit
    colors = ndimage.gaussian_filter(np.stack(log_colors(image[at])), (0, SMOOTH[0] * unit, SMOOTH[0] * unit))
    lip = (distance > SURE) & (colors[1] > WHITE)
    behind = np.zeros_like(distance)
    opening = soft_polygons([inner], size, 0.1)[at] > 0.5
    if _gap(face) > OPEN and opening.any():
        inside = _signed_distance(opening) / unit
        lip &= inside < -BESIDE_TEETH
        behind = behind_lips(colors, distance > SURE, inside)
    likely = expit(_logit(colors, distance, lip, unit)) * ramp(distance, -REACH[1], -REACH[0])
    mouth[at] = np.maximum(likely, behind)
    lips[at] = likely * (1 - behind)
    return mouth, lips


def _gap(face: MeshFace) -> float:
    """How far the inner edges of the lips are apart."""
    return float(np.hypot(*(face.points[14] - face.points[13]))) / face.unit


def _signed_distance(shape: np.ndarray) -> np.ndarray:
    """Pixels (h, w) from the edge of a shape, positive inside."""
    return ndimage.distance_transform_edt(shape) - ndimage.distance_transform_edt(~shape) + np.where(shape, -0.5, 0.5)


def _logit(colors: np.ndarray, distance: np.ndarray, lip: np.ndarray, unit: float) -> np.ndarray:
    """logit p(lip | color, place) (h, w) of ``colors`` (3, h, w) at ``distance`` inside the mesh's lip line, the
    pixels ``lip`` being examples of a lip."""
    logit = (distance - LINE) / PLACE
    skin = (distance < -BESIDE[0]) & (distance > -BESIDE[1])
    if min(lip.sum(), skin.sum()) >= FEWEST:
        brown = ramp(distance, *CORE) * (1 - ramp(unlikeness(colors, skin), *NO_SKIN))
        against = MOST * (1 - brown)
        logit = logit + np.clip(log_ratio(colors, lip, skin), -against, MOST)
    return ndimage.gaussian_filter(logit, SMOOTH[1] * unit)
