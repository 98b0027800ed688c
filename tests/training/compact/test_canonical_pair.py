from pathlib import Path

import numpy as np
import pytest
import torch

from dda.faces.alignment import CANONICAL_POINTS, CROP_SIZE
from dda.faces.parsing.mesh import MeshParser
from dda.images import to_tensor
from dda.models.compact.network import CompactResidualModel
from dda.models.compact.pipeline import CompactPipeline
from dda.training.compact.canonical_pair import MARGIN_PX, PADDED_SIZE, crop_pair
from dda.training.seed_pairs import SeedPair, SeedPairFolder


@pytest.fixture(scope="module")
def loaded(pairs_root: Path, parser: MeshParser) -> list[SeedPair]:
    return list(SeedPairFolder(pairs_root, parser))


def test_the_crop_holds_the_face_in_its_canonical_place(loaded: list[SeedPair]) -> None:
    pair = crop_pair(loaded[0])
    assert pair.source.shape == pair.target.shape == (3, PADDED_SIZE, PADDED_SIZE)
    assert pair.masks.shape == (4, PADDED_SIZE, PADDED_SIZE) and pair.points.shape == (468, 2)
    assert {pair.source.dtype, pair.target.dtype, pair.masks.dtype} == {torch.uint8}
    mouth = (pair.points[61] + pair.points[291]) / 2
    assert np.abs(mouth - (MARGIN_PX + CROP_SIZE * np.array(CANONICAL_POINTS[2]))).max() < 12
    assert pair.masks.sum(0, dtype=torch.int32).max() <= 255 + 2  # four roundings


def test_masks_and_landmarks_move_with_the_picture(loaded: list[SeedPair]) -> None:
    pair = crop_pair(loaded[0])
    change = (pair.source.int() - pair.target.int()).abs().sum(0).float()
    lips = pair.masks[1].float()
    assert float(change[lips > 180].mean()) > 50 * float(change[lips == 0].mean())
    ys, xs = np.nonzero(lips.numpy() > 127)
    assert np.abs(np.array([xs.mean(), ys.mean()]) - pair.points[[61, 291, 0, 17]].mean(0)).max() < 8


def test_training_sees_what_amplification_sees(loaded: list[SeedPair]) -> None:
    """The middle of the padded crop is the crop that the amplifier takes of the same face."""
    pair = loaded[0]
    middle = slice(MARGIN_PX, MARGIN_PX + CROP_SIZE)
    cut = crop_pair(pair)
    amplifier = CompactPipeline(CompactResidualModel(channels=(8, 8)), 1, torch.device("cpu"))
    masks = torch.from_numpy(pair.regions.masks)[None]
    seen = amplifier.encode_faces(to_tensor(pair.source)[None], masks, [pair.regions.face], torch.zeros(1))
    for part, expected in ((cut.source, seen.source[0]), (cut.masks, seen.masks[0])):
        assert float((part[:, middle, middle] - 255 * expected).abs().max()) <= 0.51
