"""Lips: the mesh says about where they are, the picture's own colours where exactly.

A mesh knows the lips of most people; thin, full or unevenly lit ones end elsewhere. So, with d the distance from the
mesh's lip line,

    logit p(lip | colour, place) = d / PLACE + clip(log p(colour | lip) / p(colour | skin)),

the colours of either side being normal with one covariance (linear discriminant analysis), learnt from this very face:
from what lies well inside the mesh's lips, and well outside. Where the two look alike, the mesh decides.
"""

import numpy as np
from scipy import ndimage
from scipy.special import expit
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from dda.faces.fields import log_colours, ramp, soft_polygons
from dda.faces.mesh import MeshFace

LIPS_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
LIPS_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191)

PLACE = 5.0
"""How far from the mesh's lip line the odds of its side have risen by e. Like all lengths here in units of the face."""

LINE = 0.5
"""How far inside the mesh's lip line lips end on average."""

MOST = 2.0
"""What colour may add to the logit at most: it moves a lip's edge, and makes no lips elsewhere."""

SURE = 2.0
"""So far inside the mesh's lip line, a pixel serves as an example of a lip."""

BESIDE = (4.0, 12.0)
"""Between these distances outside of it, as an example of what surrounds the lips."""

REACH = (5.0, 9.0)
"""Between these distances outside of it, lips fade to nothing, whatever the colours say."""

SMOOTH = (0.5, 1.5)
"""Blur of the colours and of the logit."""

WHITE = 0.15
"""What is no redder than this, in log red over green, may be a tooth, and is no example of a lip."""

FEWEST = 30
"""Examples of each side that are needed to compare their colours."""

OPEN = 2.5
"""Lips further apart than this may show what lies behind them."""

PALER, PALER_SHARE = 0.06, 0.25
"""Teeth are less red than lips, in log red over green, by at least so much and by this share of what lips have."""

SMALL_PART = 0.35
"""Area below which a part of the teeth is taken for shine, as a share of the largest part."""


def find_lips(image: np.ndarray, face: MeshFace) -> tuple[np.ndarray, np.ndarray]:
    """The mouth, and the lips alone, of a face in its aligned picture.

    Args:
        image: uint8 (H, H, 3).
        face: in pixels of the picture.

    Returns:
        Two fields (H, H) float32 in [0, 1]: lips and all that lies between them; and lips without teeth, tongue and
        the dark of an open mouth.
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
    between = (
        soft_polygons([inner], size, 1.2 * unit, OPEN * unit)[at] if _gap(face) > OPEN else np.zeros_like(distance)
    )
    colours = np.stack(log_colours(image[at]))
    likely = expit(_logit(colours, distance, between, unit)) * ramp(distance, -REACH[1], -REACH[0])
    behind = between * _behind_lips(colours, distance, between)
    mouth[at] = np.maximum(likely, behind)
    lips[at] = likely * (1 - behind)
    return mouth, lips


def _gap(face: MeshFace) -> float:
    """How far the inner edges of the lips are apart."""
    return float(np.hypot(*(face.points[14] - face.points[13]))) / face.unit


def _signed_distance(shape: np.ndarray) -> np.ndarray:
    """Pixels (h, w) from the edge of a shape, positive inside."""
    return ndimage.distance_transform_edt(shape) - ndimage.distance_transform_edt(~shape) + np.where(shape, -0.5, 0.5)


def _logit(colours: np.ndarray, distance: np.ndarray, between: np.ndarray, unit: float) -> np.ndarray:
    """logit p(lip | colour, place) (h, w) of ``colours`` (3, h, w) at ``distance`` inside the mesh's lip line."""
    logit = (distance - LINE) / PLACE
    lip = (distance > SURE) & (between < 0.2) & (colours[1] > WHITE)
    skin = (distance < -BESIDE[0]) & (distance > -BESIDE[1])
    if min(lip.sum(), skin.sum()) >= FEWEST:
        smooth = ndimage.gaussian_filter(colours, (0, SMOOTH[0] * unit, SMOOTH[0] * unit))
        examples = np.concatenate([smooth[:, lip], smooth[:, skin]], axis=1).T
        names = np.repeat([True, False], [lip.sum(), skin.sum()])
        seen = LinearDiscriminantAnalysis(priors=[0.5, 0.5]).fit(examples, names)
        ratio = seen.decision_function(smooth.reshape(3, -1).T).reshape(distance.shape)
        logit = logit + np.clip(ratio, -MOST, MOST)
    return ndimage.gaussian_filter(logit, SMOOTH[1] * unit)


def _behind_lips(colours: np.ndarray, distance: np.ndarray, between: np.ndarray) -> np.ndarray:
    """Where an open mouth shows teeth, tongue or dark (h, w), in [0, 1]: unlike the lips around it.

    All that lies between the mesh's lips, where too little of these is red (a picture without colours).
    """
    light, red, _ = colours
    lips = (distance > 0) & (between < 0.2) & (red > WHITE)
    if lips.sum() < FEWEST:
        return np.ones_like(between)
    lip_light, lip_red = np.median(light[lips]), np.median(red[lips])
    paler = lip_red - red - max(PALER, PALER_SHARE * lip_red)
    teeth = np.maximum(ramp(paler, 0, 0.1) * ramp(light - lip_light, -0.5, -0.2), ramp(light - lip_light, 0.3, 0.6))
    throat = ramp(lip_light - light, 0.7, 1.2)
    return np.maximum(_largest_parts(between, teeth), throat)


def _largest_parts(between: np.ndarray, teeth: np.ndarray) -> np.ndarray:
    """Teeth without their small parts: teeth hang together, a shine on the lip lies by itself."""
    parts, count = ndimage.label(between * teeth > 0.2)
    if not count:
        return teeth
    areas = np.bincount(parts.ravel())[1:]
    kept = np.flatnonzero(areas >= SMALL_PART * areas.max()) + 1
    return teeth * ndimage.binary_dilation(np.isin(parts, kept), iterations=2)
