"""Colours of pixels, and what tells those of one thing from those of another."""

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis


def log_colours(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logarithms of lightness, red over green and green over blue; a change of exposure only shifts the first."""
    red, green, blue = np.log(image.astype(np.float32).transpose(2, 0, 1) + 16)
    return (red + green + blue) / 3, red - green, green - blue


def log_ratio(colours: np.ndarray, these: np.ndarray, those: np.ndarray) -> np.ndarray:
    """log p(colour | these) / p(colour | those) (h, w) of every pixel, by linear discriminant analysis.

    Args:
        colours: (3, h, w).
        these: bool (h, w), examples; like ``those``. There is at least one of either.
    """
    examples = np.concatenate([colours[:, these], colours[:, those]], axis=1).T
    names = np.repeat([True, False], [these.sum(), those.sum()])
    seen = LinearDiscriminantAnalysis(priors=[0.5, 0.5]).fit(examples, names)
    return seen.decision_function(colours.reshape(3, -1).T).reshape(these.shape)
