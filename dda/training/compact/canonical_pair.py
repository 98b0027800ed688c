"""Canonical pair: a seed pair in the crop that the compact model works on."""

from dataclasses import dataclass

import numpy as np
import torch

from dda.faces.alignment import CANONICAL_POINTS, CROP_SIZE, invert_matrix, warp, warp_supersampled
from dda.faces.face_mesh import MeshFace
from dda.images import to_tensor
from dda.models.compact.pipeline import compute_crop_matrix
from dda.training.seed_pairs import SeedPair

MARGIN_PX = 32
"""Pixels kept on each side of the canonical crop, so that a shifted or rotated crop does not leave the picture."""

PADDED_SIZE = CROP_SIZE + 2 * MARGIN_PX
"""Side of the padded crop in pixels."""


@dataclass
class CanonicalPair:
    """One pair in the padded canonical crop of S = `PADDED_SIZE` pixels.

    Attributes:
        source, target: uint8 (3, S, S).
        masks: region masks, uint8 (4, S, S), where 255 is 1.
        points: landmarks (468, 2) in pixels of the crop.
        style: index of the style.
    """

    source: torch.Tensor
    target: torch.Tensor
    masks: torch.Tensor
    points: np.ndarray
    style: int


def crop_pair(pair: SeedPair) -> CanonicalPair:
    """Cut the padded canonical crop of a pair, which must have been parsed with the face mesh."""
    face: MeshFace = pair.regions.face
    to_picture = compute_crop_matrix(face, np.array(CANONICAL_POINTS) * CROP_SIZE)
    to_picture[:, 2] -= to_picture[:, :2].sum(1) * MARGIN_PX
    matrix = torch.from_numpy(to_picture)[None]
    pictures = torch.cat([to_tensor(pair.source), to_tensor(pair.target)])[None]
    masks = torch.from_numpy(pair.regions.masks)[None]  # soft: they need no antialiasing
    crop = torch.cat([warp_supersampled(pictures, matrix, PADDED_SIZE), warp(masks, matrix, PADDED_SIZE)], 1)[0]
    levels = (crop * 255).round().to(torch.uint8)
    to_crop = invert_matrix(to_picture)
    points = face.points @ to_crop[:, :2].T + to_crop[:, 2]
    return CanonicalPair(levels[:3], levels[3:6], levels[6:], points, pair.style)
