"""Rendering of a recipe: all products of a look painted onto a face."""

import numpy as np

from dda.authoring.brow_makeup import paint_brows
from dda.authoring.canvas import Canvas
from dda.authoring.eye_makeup import paint_eyes
from dda.authoring.lip_makeup import paint_lips
from dda.authoring.recipes import Recipe
from dda.authoring.skin_makeup import paint_blush, paint_contour, paint_foundation
from dda.faces.face_mesh import MeshFace
from dda.faces.region_masks import RegionMasks


def render_recipe(image: np.ndarray, regions: RegionMasks[MeshFace], recipe: Recipe) -> np.ndarray:
    """Paint a recipe onto the face of an aligned picture.

    Args:
        image: uint8 (H, W, 3).
        regions: its region masks.
        recipe: the look.

    Returns:
        The made-up picture, uint8 (H, W, 3). Pixels with ``regions.total_mask`` 0 keep their bytes. The same arguments
        give the same bytes.
    """
    canvas = Canvas(image, regions)
    paint_foundation(canvas, recipe.foundation)
    paint_contour(canvas, recipe.sculpt)
    paint_blush(canvas, recipe.blush)
    paint_brows(canvas, recipe.brows)
    paint_eyes(canvas, recipe.shadow, recipe.liner)
    paint_lips(canvas, recipe.lips)
    return canvas.render()
