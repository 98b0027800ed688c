"""What an open mouth shows behind the lips: teeth by what they look like, the dark by how dark it is.

A mesh knows roughly where the lips part; teeth reach past its line, and lips into it. So, with d the distance inside
the mesh's inner lip line,

    logit p(tooth | color, place) = clip(log p(color | tooth) / p(color | lip)) + d / PLACE - DOUBT,

the colors of either being normal with one covariance (linear discriminant analysis), learnt from this very mouth:
at first from the palest that lies between the mesh's lips and from what lies well outside, then from what was found.
"""

import numpy as np
from scipy import ndimage
from scipy.special import expit

from dda.faces.parsing.color_statistics import log_ratio
from dda.faces.soft_masks import ramp

BETWEEN = (-2.0, 0.0)
"""Between these distances inside the mesh's inner lip line begins what lies between the lips. Like all lengths here in
units of the face."""

CORE = 1.0
"""So far inside that line a pixel may serve as an example of a tooth, and so far outside as one of a lip."""

PLACE = 5.0
"""How far inside that line the odds of a tooth have risen by e."""

DOUBT = 1.0
"""Against a tooth, in a place and of a color that tell nothing."""

MOST = 6.0
"""What color may add to the logit at most."""

REACH = (4.0, 8.0)
"""Between these distances outside of that line, teeth fade to nothing, whatever the colors say."""

WHITE = 0.15
"""What is no redder than this, in log red over green, may be a tooth, and is no example of a lip."""

FEWEST = 30
"""Examples of each side that are needed to compare their colors."""

PALER, PALER_SHARE = 0.06, 0.25
"""Teeth are less red than lips, in log red over green, by at least so much and by this share of what lips have."""

DARKER = (0.3, 0.6)
"""Between these differences in log lightness from the lips, what is darker ceases to be a tooth."""

THROAT = (0.7, 1.2)
"""Between these, it becomes the dark of an open mouth."""

ROUNDS = 3
"""How often the colors are learnt anew from what was found."""

WITHIN = 0.1
"""Share of a part of the teeth that lies well inside the mesh's line; less is a shine on the lip."""

SMALL_PART = 0.08
"""Area below which a part of the teeth is taken for shine, as a share of the largest part."""


def behind_lips(colors: np.ndarray, lips: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Where an open mouth shows teeth or the dark behind them, (h, w) in [0, 1].

    All that lies between the mesh's lips, where too little of these is red (a picture without colors).

    Args:
        colors: (3, h, w) as of :func:`dda.faces.parsing.color_statistics.log_colors`.
        lips: bool (h, w), well inside the mesh's outer lip line.
        inside: (h, w), distance inside its inner one, negative outside, in units of the face.
    """
    light, red, _ = colors
    between = ramp(inside, *BETWEEN)
    lips = lips & (inside < -CORE)
    reddish = lips & (red > WHITE)
    if reddish.sum() < FEWEST:
        return between
    throat = between * ramp(np.median(light[reddish]) - light, *THROAT)
    return np.maximum(throat, _find_teeth(colors, lips, reddish, inside))


def _find_teeth(colors: np.ndarray, lips: np.ndarray, reddish: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Teeth (h, w) in [0, 1]; none if what was found is hardly less red than the lips. ``reddish`` are surely lips."""
    light, red, _ = colors
    lip_light, lip_red = np.median(light[reddish]), np.median(red[reddish])
    lighter, paler, least = light - lip_light, lip_red - red, max(PALER, PALER_SHARE * lip_red)
    bright = lighter > -sum(DARKER) / 2
    nothing = np.zeros_like(light)
    core = (inside > CORE) & bright
    if not core.any():
        return nothing
    tooth = core & (paler > max(least, np.quantile(paler[core], 0.95) / 2))
    lip = reddish & bright & (paler < least)
    for _ in range(ROUNDS):
        if min(tooth.sum(), lip.sum()) < FEWEST:
            return nothing
        logit = np.clip(log_ratio(colors, tooth, lip), -MOST, MOST) + inside / PLACE - DOUBT
        teeth = expit(logit) * ramp(inside, -REACH[1], -REACH[0]) * ramp(lighter, -DARKER[1], -DARKER[0])
        teeth = teeth * _parts(teeth > 0.4, inside > CORE)
        tooth, lip = bright & (teeth > 0.7), bright & lips & (teeth < 0.2)
    if not tooth.any() or not lip.any() or np.median(red[lip]) - np.median(red[tooth]) < least:
        return nothing
    return teeth


def _parts(found: np.ndarray, core: np.ndarray) -> np.ndarray:
    """The parts of ``found`` that are large and lie in ``core`` with a share of theirs, with an edge of two pixels."""
    parts, count = ndimage.label(found)
    areas = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    within = np.bincount(parts[core], minlength=count + 1)[1:]
    kept = np.flatnonzero((within > WITHIN * areas) & (areas >= SMALL_PART * max(areas, default=0))) + 1
    return ndimage.binary_dilation(np.isin(parts, kept), iterations=2)
