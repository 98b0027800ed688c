"""Real pairs for the metrics, and the ways to spoil them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from dda.evaluation.pair_loader import parse_picture
from dda.faces.parsing.mesh import MeshParser
from dda.faces.preparation import PreparedFace
from dda.images import to_tensor, to_uint8
from dda.metrics.background import Background
from dda.metrics.detail import DetailKept
from dda.metrics.edit_offset import EditOffset
from dda.metrics.eyeliner import Eyeliner
from dda.metrics.leakage import Leakage
from dda.metrics.metric import PairBatch, PairMetric
from dda.metrics.strength import Strength
from dda.metrics.structure import Structure
from dda.models.compact.checkpoint import load_compact_model
from dda.models.compact.pipeline import CompactPipeline
from dda.models.residuals import compose
from dda.regions import REGIONS
from dda.seeds import pair_noise
from dda.styles import Style


@pytest.fixture(scope="session")
def glamorous(portraits: list[PreparedFace], parser: MeshParser) -> PairBatch:
    """The two demo faces in the shipped glamorous makeup, parsed again as finished files."""
    amplifier = CompactPipeline(load_compact_model(None), 1, torch.device("cpu"))
    style = Style("Glamorous", dict.fromkeys(REGIONS, "Glamorous makeup"), dict.fromkeys(REGIONS, 1.0))
    source = torch.stack([to_tensor(face.source) for face in portraits])
    masks = torch.stack([torch.from_numpy(face.regions.masks) for face in portraits])
    noise = torch.stack([pair_noise(amplifier.noise_shape, 0, face.content_hash, 0) for face in portraits])
    encoded = amplifier.encode_faces(source, masks, [face.regions.face for face in portraits], noise)
    residuals = amplifier.residuals(encoded, range(len(portraits)), [style] * len(portraits))
    target = compose(source, masks, residuals, amplifier.gains().expand(len(portraits), -1))
    saved = torch.stack([to_tensor(to_uint8(picture)) for picture in target])
    parsed = [parse_picture(face.source, parser) for face in portraits]
    return PairBatch(
        source=source,
        target=saved,
        oracle=None,
        masks=torch.from_numpy(np.stack([masks for masks, _ in parsed])) / 255,
        oval=torch.from_numpy(np.stack([oval for _, oval in parsed]))[:, None],
        has_face=torch.ones(len(portraits), dtype=torch.bool),
    )


def with_edit(batch: PairBatch, edit: torch.Tensor) -> PairBatch:
    """The same sources with another edit."""
    return replace(batch, target=((batch.source + edit).clamp(0, 1) * 255).round() / 255)


SPOILED: dict[str, Callable[[PairBatch], PairBatch]] = {
    "untouched": lambda b: b.untouched(),
    "shuffled": lambda b: replace(b, target=b.target.flip(0)),
    "moved picture": lambda b: replace(b, target=b.target.roll((0, 3), (2, 3))),
    "moved edit": lambda b: with_edit(b, (b.target - b.source).roll((12, 0), (2, 3))),
    "over-strong edit": lambda b: with_edit(b, 5 * (b.target - b.source)),
    "leaking edit": lambda b: with_edit(b, (b.target - b.source) + (b.target - b.source).roll((0, 230), (2, 3))),
}


@pytest.fixture(scope="session")
def spoiled(glamorous: PairBatch) -> dict[str, PairBatch]:
    return {name: spoil(glamorous) for name, spoil in SPOILED.items()}


METRICS: tuple[PairMetric, ...] = (Strength(), Leakage(), Background(), DetailKept(), Eyeliner(), EditOffset())


def measure(batch: PairBatch) -> dict[str, torch.Tensor]:
    """All numbers of pairs that need no learned weights."""
    values = {name: value for metric in METRICS for name, value in metric(batch).items()}
    return values | {Structure.column.name: Structure()(batch.source, batch.target)}


@pytest.fixture(scope="session")
def measured(glamorous: PairBatch, spoiled: dict[str, PairBatch]) -> dict[str, dict[str, torch.Tensor]]:
    """The numbers of the good pairs and of each way to spoil them."""
    return {name: measure(batch) for name, batch in {"good": glamorous, **spoiled}.items()}


@pytest.fixture(scope="session")
def measure_batch() -> Callable[[PairBatch], dict[str, torch.Tensor]]:
    return measure
