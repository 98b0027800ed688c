"""Augmentation of seed pairs: what a makeup artist's five faces do not show, another face might.

Geometry and light change in source and target together, so that a pair stays a pair.
"""

from collections.abc import Collection

import numpy as np
import torch
from scipy.interpolate import RBFInterpolator
from torch.nn import functional as F

from dda.faces.alignment import CROP_SIZE, warp
from dda.training.augmentation import random_light, random_similarities, relight
from dda.training.seed_pairs import MARGIN, PADDED_SIZE, SeedPair

BEYOND = 0.2
"""How far a morph's shape may lie beyond either face, as a share of their difference."""

GRAY = 0.06
"""Share of the pairs that lose their color: a photo without any is made up without any."""

MORPH_GRID = 40
"""The flow of a morph is computed on a grid of so many points a side."""

COLLAGES = 0.5
"""Share of the pairs that are laid together with another, if the batch has one of their style; the rest shows what of a
look depends on the whole face."""

PATCHES = 4
"""A collage is laid out on a grid of so many random numbers a side."""

SEAM = 8.0
"""How steeply a collage changes from one face to the other."""


def morph_pairs(pairs: list[SeedPair], count: int, seed: int) -> list[SeedPair]:
    """``count`` faces between two random ones of the same style; none where no style has two faces."""
    faces = [[pair for pair in pairs if pair.style == style] for style in range(1 + max(pair.style for pair in pairs))]
    styles = [group for group in faces if len(group) > 1]
    if not styles:
        return []
    random = np.random.default_rng(seed)
    morphs = []
    for _ in range(count):
        group = styles[random.integers(len(styles))]
        first, second = random.choice(len(group), 2, replace=False)
        shape, color = random.uniform(-BEYOND, 1 + BEYOND), random.uniform(0, 1)
        morphs.append(morph(group[first], group[second], shape, color))
    return morphs


def morph(first: SeedPair, second: SeedPair, shape: float, color: float) -> SeedPair:
    """A face between two of the same style: ``shape`` and ``color`` say how far it lies from the first to the second.

    Both pairs are warped onto the landmarks in between (thin-plate splines) and blended, source and target alike.
    """
    points = (1 - shape) * first.points + shape * second.points
    blended = torch.lerp(_warp_onto(first, points), _warp_onto(second, points), color)
    levels = blended.round().to(torch.uint8)
    return SeedPair(levels[:3], levels[3:6], levels[6:], points, first.style)


def _warp_onto(pair: SeedPair, points: np.ndarray) -> torch.Tensor:
    """Source, target and masks (10, S, S) float of a pair, its landmarks carried to ``points``."""
    border = np.linspace(0, PADDED_SIZE, 5)
    frame = np.array([(x, y) for x in border for y in border if x in (0, PADDED_SIZE) or y in (0, PADDED_SIZE)])
    inside = (points > 4).all(1) & (points < PADDED_SIZE - 4).all(1)
    chosen = np.flatnonzero(inside)[::4]
    spline = RBFInterpolator(
        np.concatenate([points[chosen], frame]),
        np.concatenate([pair.points[chosen] - points[chosen], np.zeros_like(frame)]),
        kernel="thin_plate_spline",
        smoothing=1.0,
    )
    axis = (np.arange(MORPH_GRID) + 0.5) * PADDED_SIZE / MORPH_GRID
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    flow = torch.from_numpy(spline(grid).reshape(MORPH_GRID, MORPH_GRID, 2)).float().permute(2, 0, 1)[None]
    flow = F.interpolate(flow, size=(PADDED_SIZE, PADDED_SIZE), mode="bicubic", align_corners=False)[0].permute(1, 2, 0)
    base = (torch.arange(PADDED_SIZE) + 0.5) * 2 / PADDED_SIZE - 1
    y, x = torch.meshgrid(base, base, indexing="ij")
    sampling = torch.stack([x, y], -1) + flow * 2 / PADDED_SIZE
    stack = torch.cat([pair.source, pair.target, pair.masks]).float()[None]
    return F.grid_sample(stack, sampling[None], mode="bilinear", padding_mode="border", align_corners=False)[0]


def augmented_batch(
    pairs: list[SeedPair], generator: torch.Generator, laid: Collection[int] = ()
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sources (N, 3, S, S), targets, masks (N, 4, S, S) in [0, 1] and styles (N,).

    Each pair is turned, shifted and relit. Pairs of the styles ``laid`` are then laid together in collages.
    """
    stacks = torch.stack([torch.cat([pair.source, pair.target, pair.masks]) for pair in pairs]).float() / 255
    crops = warp(stacks, random_similarities(len(pairs), CROP_SIZE, MARGIN, generator), CROP_SIZE)
    light = random_light(len(pairs), generator, gray=GRAY)
    source, target = relight(crops[:, :3], light), relight(crops[:, 3:6], light)
    styles = torch.tensor([pair.style for pair in pairs])
    crops = collage(torch.cat([source, target, crops[:, 6:]], 1), _partners(styles, laid), generator)
    return crops[:, :3], crops[:, 3:6], crops[:, 6:], styles


def collage(crops: torch.Tensor, partners: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Crops (N, C, S, S), a share of which got patches of their partner (N,), with soft seams.

    A network that sees a few whole faces learns by heart what each of them got. Here the eyes of one stand over the
    mouth of another, so makeup has to be told from what is near (as in CutMix, Yun et al., ICCV 2019, but source,
    target and masks are cut alike, in shapes of their own).
    """
    layout = torch.randn((len(crops), 1, PATCHES, PATCHES), generator=generator)
    smooth = F.interpolate(layout, size=crops.shape[-2:], mode="bicubic", align_corners=False)
    chosen = torch.rand((len(crops), 1, 1, 1), generator=generator) < COLLAGES
    return torch.lerp(crops, crops[partners], chosen * torch.sigmoid(SEAM * smooth))


def _partners(styles: torch.Tensor, laid: Collection[int]) -> torch.Tensor:
    """For each (N,) of a batch the next one of its style, round in a circle; in styles that are not ``laid`` itself."""
    partners = torch.arange(len(styles))
    for style in laid:
        members = torch.nonzero(styles == style).flatten()
        partners[members] = members.roll(-1)
    return partners
