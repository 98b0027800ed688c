"""Soft masks: float pictures in [0, 1], drawn from polygons and ramps."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


def smoothstep(value: np.ndarray | float, low: float, high: float) -> np.ndarray:
    """Interpolate from 0 at ``low`` to 1 at ``high`` by the cubic 3t^2 - 2t^3, clamped outside (GLSL's smoothstep)."""
    t = np.clip((np.asarray(value, np.float32) - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def draw_soft_polygons(polygons: list[np.ndarray], size: int, feather: float, grow: float = 0.0) -> np.ndarray:
    """Draw filled polygons with a soft edge, a mask (size, size) float32 in [0, 1].

    Args:
        polygons: corners (N, 2) in continuous pixels. Polygons may overlap; they are filled at twice the resolution.
        size: side of the mask in pixels.
        feather: sigma of the Gaussian blur in pixels.
        grow: distance in pixels by which the polygons are dilated first.
    """
    mask = np.zeros((size, size), np.float32)
    if not polygons:
        return mask
    # Only the window that the polygons and their blur reach.
    points = np.concatenate(polygons)
    margin = grow + 4 * feather + 2
    low = np.clip(np.floor(points.min(0) - margin), 0, size).astype(int)
    high = np.clip(np.ceil(points.max(0) + margin), 0, size).astype(int)
    width, height = high - low
    if width <= 0 or height <= 0:
        return mask
    canvas = Image.new("L", (2 * width, 2 * height))
    draw = ImageDraw.Draw(canvas)
    for polygon in polygons:
        outline = [(float(x), float(y)) for x, y in 2 * (polygon - low) - 0.5]
        draw.polygon(outline, fill=255)
        if grow >= 0.5:
            draw.line([*outline, *outline[:2]], fill=255, width=round(4 * grow), joint="curve")
    blurred = canvas.reduce(2).filter(ImageFilter.GaussianBlur(feather))
    mask[low[1] : high[1], low[0] : high[0]] = np.asarray(blurred, np.float32) / 255
    return mask
