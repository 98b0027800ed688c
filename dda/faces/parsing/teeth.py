"""Mouth interior: teeth and the oral cavity that an open mouth shows between the lips.

Linear discriminant analysis (LDA) of the colors, combined with a prior from the mesh and retrained on its own
predictions (self-training, Scudder 1965). With d the distance inside the mesh's inner lip line,

    logit p(tooth | color, place) = clip(log p(color | tooth) / p(color | lip)) + d / TOOTH_LOGIT_SCALE_UNITS
                                    - TOOTH_LOGIT_BIAS.

The mesh locates the inner lip line only roughly: teeth reach past it, and lips into it. The classes are therefore
learned from the same mouth: first from the palest pixels inside the line and from pixels well outside, then from the
predictions. Lengths are in face units (:attr:`dda.faces.face.Face.unit_px`). The constants are heuristics.
"""

import numpy as np
from scipy import ndimage
from scipy.special import expit

from dda.faces.parsing.color_statistics import compute_log_likelihood_ratio
from dda.faces.soft_masks import smoothstep

OPENING_EDGE_RANGE_UNITS = (-2.0, 0.0)
"""Distances inside the inner lip line between which the mouth opening fades in."""

MIN_EXAMPLE_DISTANCE_UNITS = 1.0
"""Distance inside the inner lip line from which a pixel may be an example of a tooth, and outside of it of a lip."""

TOOTH_LOGIT_SCALE_UNITS = 5.0
"""Distance inside the inner lip line over which the odds of a tooth rise by a factor of e."""

TOOTH_LOGIT_BIAS = 1.0
"""Subtracted from the logit: the prior odds of a tooth on the line are 1 to e."""

MAX_COLOR_LOGIT = 6.0
"""Bound of the log-likelihood ratio of the color, either way."""

TEETH_FADE_RANGE_UNITS = (4.0, 8.0)
"""Distances outside the inner lip line between which teeth fade to 0, whatever their color."""

MIN_LIP_REDNESS = 0.15
"""Log red over green from which a pixel may be an example of a lip; teeth are less red."""

MIN_EXAMPLES = 30
"""Smallest number of example pixels of each class that LDA is given."""

MIN_REDNESS_DROP, MIN_REDNESS_DROP_RATIO = 0.06, 0.25
"""How much less red than lips teeth are, in log red over green: at least this, and this share of the lips' redness."""

TOOTH_DARKNESS_RANGE = (0.3, 0.6)
"""Log lightness below that of the lips between which a pixel ceases to be a tooth."""

CAVITY_DARKNESS_RANGE = (0.7, 1.2)
"""Log lightness below that of the lips between which a pixel becomes the oral cavity."""

NUM_ITERATIONS = 3
"""Rounds of self-training."""

MIN_INSIDE_SHARE = 0.1
"""Share of a component of teeth that lies well inside the inner lip line; less is a highlight on the lip."""

MIN_COMPONENT_AREA_RATIO = 0.08
"""Area of a component of teeth relative to the largest one; less is a highlight."""


def find_mouth_interior(colors: np.ndarray, lips: np.ndarray, inner_distance: np.ndarray) -> np.ndarray:
    """Find teeth and the oral cavity of an open mouth, (h, w) in [0, 1].

    Where too few of the lips' pixels are red, as in a gray picture, the mesh decides: the result is everything inside
    the inner lip line.

    Args:
        colors: (3, h, w) from :func:`dda.faces.parsing.color_statistics.compute_log_colors`.
        lips: bool (h, w), well inside the mesh's outer lip line.
        inner_distance: (h, w), signed distance from the mesh's inner lip line in face units, positive inside.
    """
    lightness, redness, _ = colors
    opening = smoothstep(inner_distance, *OPENING_EDGE_RANGE_UNITS)
    lips = lips & (inner_distance < -MIN_EXAMPLE_DISTANCE_UNITS)
    red_lips = lips & (redness > MIN_LIP_REDNESS)
    if red_lips.sum() < MIN_EXAMPLES:
        return opening
    cavity = opening * smoothstep(np.median(lightness[red_lips]) - lightness, *CAVITY_DARKNESS_RANGE)
    return np.maximum(cavity, _find_teeth(colors, lips, red_lips, inner_distance))


def _find_teeth(colors: np.ndarray, lips: np.ndarray, red_lips: np.ndarray, inner_distance: np.ndarray) -> np.ndarray:
    """Find teeth, (h, w) in [0, 1]; none if what was found is hardly less red than ``red_lips``, surely lips."""
    lightness, redness, _ = colors
    lip_lightness, lip_redness = np.median(lightness[red_lips]), np.median(redness[red_lips])
    relative_lightness, redness_drop = lightness - lip_lightness, lip_redness - redness
    min_drop = max(MIN_REDNESS_DROP, MIN_REDNESS_DROP_RATIO * lip_redness)
    is_bright = relative_lightness > -sum(TOOTH_DARKNESS_RANGE) / 2
    no_teeth = np.zeros_like(lightness)
    is_inside = inner_distance > MIN_EXAMPLE_DISTANCE_UNITS
    candidates = is_inside & is_bright
    if not candidates.any():
        return no_teeth
    tooth_examples = candidates & (redness_drop > max(min_drop, np.quantile(redness_drop[candidates], 0.95) / 2))
    lip_examples = red_lips & is_bright & (redness_drop < min_drop)
    for _ in range(NUM_ITERATIONS):
        if min(tooth_examples.sum(), lip_examples.sum()) < MIN_EXAMPLES:
            return no_teeth
        color_logit = compute_log_likelihood_ratio(colors, tooth_examples, lip_examples)
        logit = np.clip(color_logit, -MAX_COLOR_LOGIT, MAX_COLOR_LOGIT)
        logit = logit + inner_distance / TOOTH_LOGIT_SCALE_UNITS - TOOTH_LOGIT_BIAS
        fade_start, fade_end = TEETH_FADE_RANGE_UNITS
        near_opening = smoothstep(inner_distance, -fade_end, -fade_start)
        brightness = smoothstep(relative_lightness, -TOOTH_DARKNESS_RANGE[1], -TOOTH_DARKNESS_RANGE[0])
        teeth = expit(logit) * near_opening * brightness
        teeth = teeth * _select_components(teeth > 0.4, is_inside)
        tooth_examples, lip_examples = is_bright & (teeth > 0.7), is_bright & lips & (teeth < 0.2)
    if not tooth_examples.any() or not lip_examples.any():
        return no_teeth
    if np.median(redness[lip_examples]) - np.median(redness[tooth_examples]) < min_drop:
        return no_teeth
    return teeth


def _select_components(mask: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Keep the connected components that are large and lie partly in ``inside``, dilated by two pixels."""
    labels, count = ndimage.label(mask)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    inside_areas = np.bincount(labels[inside], minlength=count + 1)[1:]
    is_kept = (inside_areas > MIN_INSIDE_SHARE * areas) & (areas >= MIN_COMPONENT_AREA_RATIO * max(areas, default=0))
    return ndimage.binary_dilation(np.isin(labels, np.flatnonzero(is_kept) + 1), iterations=2)
