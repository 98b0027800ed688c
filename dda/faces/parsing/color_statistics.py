"""Statistics of pixel colors: log colors, linear discriminant analysis and the Mahalanobis distance."""

import numpy as np


def compute_log_colors(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute log lightness and two log chromaticities, red over green and green over blue, each (H, W) float32.

    A change of exposure shifts the lightness only. The offset of 16 keeps the noise of dark pixels small.

    Args:
        image: uint8 (H, W, 3).
    """
    red, green, blue = np.log(image.astype(np.float32).transpose(2, 0, 1) + 16)
    return (red + green + blue) / 3, red - green, green - blue


def compute_log_likelihood_ratio(colors: np.ndarray, positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Compute log p(color | positive) / p(color | negative) of every pixel by linear discriminant analysis.

    Both classes are Gaussian with one covariance C. With their means m and n the ratio is
    (color - (m + n) / 2) C^-1 (m - n); Hastie et al., The Elements of Statistical Learning, eq. 4.9, equal priors.

    Args:
        colors: (3, h, w).
        positives: bool (h, w), examples of the first class, at least one.
        negatives: bool (h, w), examples of the second class, at least one.

    Returns:
        (h, w).
    """
    positive_colors, negative_colors = colors[:, positives].astype(float), colors[:, negatives].astype(float)
    m, n = positive_colors.mean(1), negative_colors.mean(1)
    residuals = np.concatenate([positive_colors - m[:, None], negative_colors - n[:, None]], axis=1)
    direction = _invert_covariance(residuals) @ (m - n)
    return np.tensordot(direction, colors, 1) - (m + n) @ direction / 2


def compute_squared_mahalanobis(colors: np.ndarray, examples: np.ndarray) -> np.ndarray:
    """Compute the squared Mahalanobis distance (h, w) of every pixel's color from the colors of examples.

    Args:
        colors: (3, h, w).
        examples: bool (h, w), at least one.
    """
    example_colors = colors[:, examples].astype(float)
    mean = example_colors.mean(1)
    difference = colors - mean[:, None, None]
    precision = _invert_covariance(example_colors - mean[:, None])
    return np.einsum("chw,cd,dhw->hw", difference, precision, difference, optimize=True)


def _invert_covariance(residuals: np.ndarray) -> np.ndarray:
    """Return the pseudoinverse (3, 3) of the covariance of ``residuals`` (3, N): that of a gray picture is singular."""
    return np.linalg.pinv(residuals @ residuals.T / residuals.shape[1], rcond=1e-8, hermitian=True)
