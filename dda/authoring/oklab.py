"""OKLab (Ottosson 2020): lightness L in [0, 1] and the color axes a (green to red) and b (blue to yellow).

Light that is k times as strong scales L, a and b alike by the cube root of k. So a shaded, painted surface is
its paint's color times the shading, and ``a / L``, ``b / L`` do not change with exposure.
"""

import numpy as np

_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_FROM_CONES, _FROM_LAB = np.linalg.inv(_TO_CONES), np.linalg.inv(_TO_LAB)
_LEVELS = np.arange(256) / 255
_LINEAR = np.where(_LEVELS <= 0.04045, _LEVELS / 12.92, ((_LEVELS + 0.055) / 1.055) ** 2.4).astype(np.float32)


def to_oklab(image: np.ndarray) -> np.ndarray:
    """sRGB uint8 (..., 3) to OKLab float32 (..., 3)."""
    cones = _LINEAR[image] @ _TO_CONES.T.astype(np.float32)
    return np.cbrt(cones) @ _TO_LAB.T.astype(np.float32)


def from_oklab(lab: np.ndarray) -> np.ndarray:
    """OKLab float (..., 3) to sRGB uint8 (..., 3), clipped; the exact inverse of :func:`to_oklab`."""
    cones = (lab @ _FROM_LAB.T.astype(np.float32)) ** 3
    linear = np.clip(cones @ _FROM_CONES.T.astype(np.float32), 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** np.float32(1 / 2.4) - 0.055)
    return np.rint(255 * encoded).astype(np.uint8)
