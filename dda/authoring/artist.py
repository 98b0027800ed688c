"""The makeup artist: paints a recipe onto a face, product after product."""

import numpy as np
from scipy.ndimage import gaussian_filter

from dda.authoring.canvas import Canvas, distance_to_line, pixel_centers
from dda.authoring.eye_makeup import paint_eyes
from dda.authoring.recipes import Blush, Brows, Foundation, Lips, Recipe, Sculpt
from dda.faces.parsing.lips import LIPS_INNER, LIPS_OUTER
from dda.faces.parsing.mesh_masks import compute_brow_outline
from dda.faces.region_masks import RegionMasks
from dda.faces.soft_masks import smoothstep

# Landmarks of the image-left and image-right side.
APPLE_STROKES = ((50, 101, 36), (280, 330, 266))
BONE_STROKES = ((50, 123, 227), (280, 352, 447))
CHEEK_PATCHES = ((50, 123, 205), (280, 352, 425))
HOLLOW_STROKES = ((177, 147, 187), (401, 376, 411))
TEMPLE_STROKES = ((162, 21, 54), (389, 251, 284))
CHEEKBONE_TOPS = ((117, 111, 116), (346, 340, 345))
NOSE_BRIDGE = (168, 197, 5)
CUPIDS_BOW = (37, 0, 267)
FOREHEAD = (151, 9)


def paint(image: np.ndarray, regions: RegionMasks, recipe: Recipe) -> np.ndarray:
    """The face of an aligned picture (uint8 (H, W, 3)) with a recipe's makeup on, uint8 (H, W, 3).

    Only pixels with ``regions.total_mask`` > 0 change. The same arguments give the same bytes.
    """
    canvas = Canvas(image, regions)
    _foundation(canvas, recipe.foundation)
    _sculpt(canvas, recipe.sculpt)
    _blush(canvas, recipe.blush)
    _brows(canvas, recipe.brows)
    paint_eyes(canvas, recipe.shadow, recipe.liner)
    _lips(canvas, recipe.lips)
    return canvas.finished()


def _foundation(canvas: Canvas, foundation: Foundation) -> None:
    """Take out blotches (contrasts wider than a pore, weaker than a feature), then lift and dew the skin."""
    if not (foundation.evenness or foundation.brighten or foundation.dew):
        return
    skin = canvas.masks["skin"] + 0.7 * canvas.masks["eyes"]
    half = _halved(canvas.bare)
    weight = _halved(skin)[..., None] + 1e-4
    fine, wide = (_weighted_blur(half, weight, sigma * canvas.unit) for sigma in (1.5, 5))
    band = fine - wide
    blotches = np.empty_like(band)
    blotches[..., 0] = 0.5 * band[..., 0] * np.exp(-((band[..., 0] / 0.05) ** 2))
    redness = (band[..., 1:] ** 2).sum(-1, keepdims=True)
    blotches[..., 1:] = 0.9 * band[..., 1:] * np.exp(-redness / 0.03**2)
    canvas.lab -= (foundation.evenness * skin)[..., None] * _doubled(blotches)
    canvas.light(foundation.brighten * skin)
    glow = np.clip(_doubled(wide[..., :1])[..., 0] / canvas.skin[0] - 1, 0, 0.2)
    canvas.light(1.2 * foundation.dew * glow * canvas.masks["skin"])


def _sculpt(canvas: Canvas, sculpt: Sculpt) -> None:
    """Contour where the face recedes, highlight where it catches the light."""
    unit, skin = canvas.unit, canvas.masks["skin"]
    for side in (0, 1):
        facing = canvas.facing(CHEEK_PATCHES[side])
        if sculpt.contour:
            hollow = canvas.stroke(canvas.points[list(HOLLOW_STROKES[side])], 13 * unit)
            temple = canvas.stroke(canvas.points[list(TEMPLE_STROKES[side])], 14 * unit)
            canvas.shade(0.13 * sculpt.contour * facing * np.maximum(hollow, 0.7 * temple) * skin, warmth=1.5)
        if sculpt.highlight:
            bone = canvas.stroke(canvas.points[list(CHEEKBONE_TOPS[side])], 8 * unit)
            canvas.light(0.28 * sculpt.highlight * facing * bone * skin)
    if sculpt.highlight:
        for marks, width in ((NOSE_BRIDGE, 4), (CUPIDS_BOW, 4), (FOREHEAD, 14)):
            point = canvas.stroke(canvas.points[list(marks)], width * unit)
            canvas.light(0.16 * sculpt.highlight * point * skin)


def _blush(canvas: Canvas, blush: Blush) -> None:
    """A flush of color on the cheeks, between the cheekbone and the apple."""
    if not blush.coverage:
        return
    skin = canvas.masks["skin"] + canvas.masks["eyes"]
    up = canvas.points[168] - canvas.points[2]
    for side in (0, 1):
        apple, bone = (canvas.points[list(strokes[side])] for strokes in (APPLE_STROKES, BONE_STROKES))
        lift = (blush.lift - 0.5) * 0.16 * up
        line = blush.placement * apple + (1 - blush.placement) * bone + lift
        field = canvas.stroke(line, (13 + 5 * blush.placement) * blush.width * canvas.unit)
        alpha = blush.coverage * canvas.facing(CHEEK_PATCHES[side]) * field * skin
        canvas.stain(blush.color.lab, 0.55 * alpha)
        canvas.shade(0.06 * alpha)


def _brows(canvas: Canvas, brows: Brows) -> None:
    """Fill and deepen the brows in their own hue."""
    if not (brows.fill or brows.darken):
        return
    mask = canvas.masks["brows"]
    for side in (0, 1):
        outline = compute_brow_outline(canvas.points, side)
        at = canvas.around(outline, 6 * canvas.unit)
        brow = mask[at]
        if not (brow > 0.5).any():
            continue
        shape = canvas.polygon(_straightened(outline, brows.straight), 1.6 * canvas.unit)[at]
        allowed = np.maximum(brow, 0.8 * canvas.masks["eyes"][at] * brows.straight)
        alpha = shape * np.minimum(1.3 * allowed, 1)
        light = canvas.lab[at][..., 0]
        inside = light[brow > 0.5]
        hair_light, skin_light = np.quantile(inside, 0.15), np.quantile(light[allowed > 0.3], 0.85)
        hair = canvas.lab[at][(brow > 0.5) & (light <= np.quantile(inside, 0.3))].mean(0)
        # The mesh's brow is not quite the face's: paint where hairs are, and between them.
        hairs = smoothstep((skin_light - light) / max(skin_light - hair_light, 0.08), 0.25, 0.85)
        near = np.minimum(1.7 * gaussian_filter(hairs * (brow > 0.2), 2.2 * canvas.unit), 1)
        near = np.maximum(near, 0.5 * brows.straight * shape * (1 - brow))
        gaps = alpha * near * (1 - hairs)
        canvas.lab[at] += (0.55 * brows.fill * gaps)[..., None] * (hair - canvas.lab[at])
        canvas.lab[at] *= 1 - (0.35 * brows.darken * alpha * near * hairs)[..., None]


def _straightened(outline: np.ndarray, amount: float) -> np.ndarray:
    """A brow's outline (10, 2), upper edge then lower, drawn towards a straight bar along its own axis."""
    upper, lower = outline[:5], outline[5:]
    middle = (upper + lower[::-1]) / 2
    along = middle[-1] - middle[0]
    share = ((middle - middle[0]) @ along) / max(float(along @ along), 1e-6)
    straight = middle[0] + share[:, None] * along
    shift = 0.5 * amount * (straight - middle)
    return np.concatenate([upper + shift, lower + shift[::-1]])


def _lips(canvas: Canvas, lips: Lips) -> None:
    """Lipstick over the lip's own texture, with shine."""
    if not (lips.coverage or lips.gloss):
        return
    outer, inner = canvas.points[list(LIPS_OUTER)], canvas.points[list(LIPS_INNER)]
    at = canvas.around(outer, 8 * canvas.unit)
    mask = canvas.masks["lips"][at]
    if (mask > 0.8).sum() < 20:
        return
    edge = np.minimum(mask, gaussian_filter(mask, 1.5 * lips.softness * canvas.unit))
    meeting, _ = distance_to_line(pixel_centers(at), np.concatenate([inner, inner[:1]]))
    gap = float(np.hypot(*(inner[5] - inner[15]))) / canvas.unit
    in_mouth = np.where(canvas.polygon(inner, 0.3)[at] > 0.5, meeting, 0) / canvas.unit
    edge *= 1 - smoothstep(in_mouth, 0.8, 2.5) * float(smoothstep(gap, 3, 6))  # gums look like lips and are not
    alpha = lips.coverage * edge
    ground = float(np.median(canvas.bare[at][mask > 0.8][:, 0]))
    # Two lips of different depth come closer under the same lipstick; their texture stays.
    smooth = gaussian_filter(canvas.bare[at][..., 0] * mask, 4 * canvas.unit)
    smooth /= gaussian_filter(mask, 4 * canvas.unit) + 1e-4
    unpainted = np.sqrt(np.clip(smooth / ground, 0.6, 1.7)) * ground
    pigment = canvas.adapted(lips.color, 0.5)
    pigment *= min(1.0, 1.1 * ground / pigment[0])  # no lipstick pales a lip by much
    if lips.gradient:
        # The rim is toned down to a tint between lip and skin; the color sits where the lips meet.
        thickness = 0.6 * float(np.mean(np.hypot(*(outer - inner).T))) + 1e-6
        rim = lips.gradient * smoothstep(meeting / thickness, 0.2, 1.9)
        tint = 0.5 * pigment + 0.5 * canvas.skin * min(1.0, 1.1 * ground / canvas.skin[0])
        canvas.cover(tint, alpha * rim * 0.8, unpainted, at)
        alpha = alpha * (1 - rim)
    canvas.cover(pigment, alpha, unpainted, at)
    shine = np.clip(canvas.bare[at][..., 0] / ground - 1.05, 0, 0.4)
    pout = canvas.points[[84, 17, 314]] * 0.5 + canvas.points[[87, 14, 317]] * 0.5
    band = canvas.stroke(pout, 4 * canvas.unit)[at]
    gloss = lips.gloss * edge * (0.9 * shine + 0.10 * band)
    canvas.lab[at][..., 0] += gloss * np.clip(1 - canvas.lab[at][..., 0], 0, 1)


def _halved(field: np.ndarray) -> np.ndarray:
    """Mean of 2x2 pixels."""
    return (field[::2, ::2] + field[1::2, ::2] + field[::2, 1::2] + field[1::2, 1::2]) / 4


def _doubled(field: np.ndarray) -> np.ndarray:
    """Back to twice the size (h, w, C), linear between the samples."""
    for axis in (0, 1):
        before, after = np.roll(field, 1, axis), np.roll(field, -1, axis)
        pairs = np.stack([0.75 * field + 0.25 * before, 0.75 * field + 0.25 * after], axis + 1)
        shape = list(field.shape)
        shape[axis] *= 2
        field = pairs.reshape(shape)
    return field


def _weighted_blur(field: np.ndarray, weight: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian mean of (h, w, C) at half size, where only pixels with weight (h, w, 1) count."""
    sigmas = (sigma / 2, sigma / 2, 0)
    return gaussian_filter(field * weight, sigmas) / gaussian_filter(weight, sigmas)
