"""OKLab color space: lightness L in [0, 1] and the color axes a (green to red) and b (blue to yellow).

Ottosson, A perceptual color space for image processing, 2020 (https://bottosson.github.io/posts/oklab). The matrices
are from there. All three coordinates scale with the cube root of the light's intensity, so ``a / L`` and ``b / L`` do
not depend on the exposure, and the color of a shaded surface is its own color times the shading.
"""

import numpy as np

_RGB_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LMS_TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_LMS_TO_RGB, _OKLAB_TO_LMS = np.linalg.inv(_RGB_TO_LMS), np.linalg.inv(_LMS_TO_OKLAB)
_SRGB_LEVELS = np.arange(256) / 255
_LINEAR_LEVELS = np.where(_SRGB_LEVELS <= 0.04045, _SRGB_LEVELS / 12.92, ((_SRGB_LEVELS + 0.055) / 1.055) ** 2.4)
_LINEAR_LEVELS = _LINEAR_LEVELS.astype(np.float32)


def srgb_to_oklab(image: np.ndarray) -> np.ndarray:
    """Convert sRGB uint8 (..., 3) to OKLab float32 (..., 3)."""
    lms = _LINEAR_LEVELS[image] @ _RGB_TO_LMS.T.astype(np.float32)
    return np.cbrt(lms) @ _LMS_TO_OKLAB.T.astype(np.float32)


def oklab_to_srgb(lab: np.ndarray) -> np.ndarray:
    """Convert OKLab float (..., 3) to sRGB uint8 (..., 3), clipped; exactly inverts :func:`srgb_to_oklab`."""
    lms = (lab @ _OKLAB_TO_LMS.T.astype(np.float32)) ** 3
    linear = np.clip(lms @ _LMS_TO_RGB.T.astype(np.float32), 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** np.float32(1 / 2.4) - 0.055)
    return np.rint(255 * encoded).astype(np.uint8)
