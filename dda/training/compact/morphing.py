"""Face morphing: pairs between two seed pairs of a style, blended after both are warped to the same landmarks.

It is mixup (Zhang et al., ICLR 2018) of aligned faces. The warps are thin-plate splines (Bookstein, Principal warps,
PAMI 1989) through the landmarks.
"""

import numpy as np
import torch
from scipy.interpolate import RBFInterpolator
from torch.nn import functional as F

from dda.training.compact.canonical_pair import PADDED_SIZE, CanonicalPair

SHAPE_EXTRAPOLATION = 0.2
"""How far the shape of a morph may lie beyond either face, in differences of the two."""

FLOW_GRID_SIZE = 40
"""Points on a side of the grid that a warp is computed on; it is interpolated in between."""

LANDMARK_STRIDE = 4
"""Every fourth landmark is a control point of the spline."""

SPLINE_SMOOTHING = 1.0
"""Smoothing of the spline: control points need not be met exactly."""

FRAME_POINTS = 5
"""Fixed control points on each side of the crop."""

MIN_BORDER_DISTANCE_PX = 4
"""Distance from the border below which a landmark is no control point."""


def morph_pairs(pairs: list[CanonicalPair], count: int, seed: int) -> list[CanonicalPair]:
    """Make ``count`` morphs, each of two random faces of the same style; none if no style has two faces."""
    style_count = 1 + max(pair.style for pair in pairs)
    groups = [[pair for pair in pairs if pair.style == style] for style in range(style_count)]
    groups = [group for group in groups if len(group) > 1]
    if not groups:
        return []
    rng = np.random.default_rng(seed)
    morphs = []
    for _ in range(count):
        group = groups[rng.integers(len(groups))]
        first, second = rng.choice(len(group), 2, replace=False)
        shape, color = rng.uniform(-SHAPE_EXTRAPOLATION, 1 + SHAPE_EXTRAPOLATION), rng.uniform(0, 1)
        morphs.append(morph(group[first], group[second], shape, color))
    return morphs


def morph(first: CanonicalPair, second: CanonicalPair, shape: float, color: float) -> CanonicalPair:
    """Morph two faces of the same style; source, target and masks alike.

    Args:
        first: the pair at 0.
        second: the pair at 1.
        shape: where the landmarks lie between the two.
        color: weight of the second in the blend, in [0, 1].
    """
    points = (1 - shape) * first.points + shape * second.points
    blended = torch.lerp(_warp_to_points(first, points), _warp_to_points(second, points), color)
    levels = blended.round().to(torch.uint8)
    return CanonicalPair(levels[:3], levels[3:6], levels[6:], points, first.style)


def _warp_to_points(pair: CanonicalPair, points: np.ndarray) -> torch.Tensor:
    """Warp source, target and masks so that the landmarks come to ``points``, (10, S, S) float in [0, 255]."""
    ticks = np.linspace(0, PADDED_SIZE, FRAME_POINTS)
    frame = np.array([(x, y) for x in ticks for y in ticks if x in (0, PADDED_SIZE) or y in (0, PADDED_SIZE)])
    is_inside = (points > MIN_BORDER_DISTANCE_PX).all(1) & (points < PADDED_SIZE - MIN_BORDER_DISTANCE_PX).all(1)
    chosen = np.flatnonzero(is_inside)[::LANDMARK_STRIDE]
    spline = RBFInterpolator(
        np.concatenate([points[chosen], frame]),
        np.concatenate([pair.points[chosen] - points[chosen], np.zeros_like(frame)]),
        kernel="thin_plate_spline",
        smoothing=SPLINE_SMOOTHING,
    )
    axis = (np.arange(FLOW_GRID_SIZE) + 0.5) * PADDED_SIZE / FLOW_GRID_SIZE
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    flow = torch.from_numpy(spline(grid).reshape(FLOW_GRID_SIZE, FLOW_GRID_SIZE, 2)).float().permute(2, 0, 1)[None]
    flow = F.interpolate(flow, size=(PADDED_SIZE, PADDED_SIZE), mode="bicubic", align_corners=False)[0].permute(1, 2, 0)
    base = (torch.arange(PADDED_SIZE) + 0.5) * 2 / PADDED_SIZE - 1
    y, x = torch.meshgrid(base, base, indexing="ij")
    sampling_grid = torch.stack([x, y], -1) + flow * 2 / PADDED_SIZE
    stack = torch.cat([pair.source, pair.target, pair.masks]).float()[None]
    return F.grid_sample(stack, sampling_grid[None], mode="bilinear", padding_mode="border", align_corners=False)[0]
