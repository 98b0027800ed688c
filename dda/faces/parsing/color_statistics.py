"""Colors of pixels, and what tells those of one thing from those of another."""

import numpy as np


def log_colors(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logarithms of lightness, red over green and green over blue; a change of exposure only shifts the first."""
    red, green, blue = np.log(image.astype(np.float32).transpose(2, 0, 1) + 16)
    return (red + green + blue) / 3, red - green, green - blue


def log_ratio(colors: np.ndarray, these: np.ndarray, those: np.ndarray) -> np.ndarray:
    """log p(color | these) / p(color | those) (h, w) of every pixel, by linear discriminant analysis.

    Both are normal with one covariance C; m and n being their means, the ratio is (color - (m + n) / 2) C^-1 (m - n).

    Args:
        colors: (3, h, w).
        these: bool (h, w), examples; like ``those``. There is at least one of either.
    """
    of_these, of_those = colors[:, these].astype(float), colors[:, those].astype(float)
    m, n = of_these.mean(1), of_those.mean(1)
    spread = np.concatenate([of_these - m[:, None], of_those - n[:, None]], axis=1)
    direction = _precision(spread) @ (m - n)
    return np.tensordot(direction, colors, 1) - (m + n) @ direction / 2


def unlikeness(colors: np.ndarray, these: np.ndarray) -> np.ndarray:
    """Squared Mahalanobis distance (h, w) of every pixel's color from those of examples.

    Args:
        colors: (3, h, w).
        these: bool (h, w), examples. There is at least one.
    """
    examples = colors[:, these].astype(float)
    mean = examples.mean(1)
    away = colors - mean[:, None, None]
    return np.einsum("chw,cd,dhw->hw", away, _precision(examples - mean[:, None]), away, optimize=True)


def _precision(spread: np.ndarray) -> np.ndarray:
    """The inverse (3, 3) of the covariance of ``spread`` (3, N) about its mean; a gray picture has no spread of hue."""
    return np.linalg.pinv(spread @ spread.T / spread.shape[1], rcond=1e-8, hermitian=True)
