"""Validation: how close a model in training comes to the true targets of a few pairs, measured and shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dda.images import to_tensor, to_uint8
from dda.metrics.psnr import masked_psnr
from dda.models.painting import FaceBatch, Strength
from dda.models.residual_pipeline import ResidualPipeline
from dda.regions import REGIONS
from dda.report.samples import GridRow
from dda.seeds import pair_noise
from dda.styles import make_style
from dda.training.seed_pairs import SeedPair

MAX_GRID_FACES = 6
"""Largest number of pairs in the grid."""

NOISE_KEY = "holdout"
"""What the noise of all validation pairs is drawn from, in place of a content hash."""

FULL_STRENGTH = dict.fromkeys(REGIONS, 1.0)


@dataclass(frozen=True)
class Validation:
    """The result of a validation.

    Attributes:
        metrics: by name.
        rows: of the grid: source, true target and the model's target of a few pairs.
    """

    metrics: Mapping[str, float]
    rows: Sequence[GridRow]


@dataclass(frozen=True)
class Validator:
    """Measures the targets of a pipeline against the true targets of pairs.

    Attributes:
        pairs: the pairs.
        styles: names of the styles.
        split: what the pairs are called in the names of metrics: "held-out" or "seed".
        seed: root seed of the noise.
    """

    pairs: Sequence[SeedPair]
    styles: Sequence[str]
    split: str
    seed: int

    def validate(self, pipeline: ResidualPipeline[Any]) -> Validation:
        """Paint the pairs; measure the mean PSNR in dB inside the face oval, beside that of the untouched sources."""
        painted = [paint_pair(pipeline, pair, self.styles[pair.style], self.seed) for pair in self.pairs]
        metrics = {
            f"{self.split} PSNR, dB": mean_psnr(painted, self.pairs),
            f"{self.split} PSNR of the untouched source, dB": mean_psnr(
                [pair.source for pair in self.pairs], self.pairs
            ),
        }
        rows = [
            GridRow(pair.source, {"Truth": pair.target, "Model": picture})
            for pair, picture in zip(self.pairs[:MAX_GRID_FACES], painted, strict=False)
        ]
        return Validation(metrics, rows)


def paint_pair(pipeline: ResidualPipeline[Any], pair: SeedPair, style: str, seed: int) -> np.ndarray:
    """Return the pipeline's own target, uint8 (512, 512, 3), for the source of a pair in a style of full strength."""
    faces = FaceBatch(
        pipeline,
        to_tensor(pair.source)[None],
        torch.from_numpy(pair.regions.masks)[None],
        [pair.regions.face],
        pair_noise(pipeline.noise_shape, seed, NOISE_KEY, attempt=0)[None],
    )
    strength = Strength(makeup=1.0, detail=1.0, regions=FULL_STRENGTH)
    painted = faces.paint([0], [make_style(style, strength=FULL_STRENGTH)], strength)
    return to_uint8(painted.target[0])


def mean_psnr(pictures: Sequence[np.ndarray], pairs: Sequence[SeedPair]) -> float:
    """Return the mean PSNR in dB of pictures against the true targets of pairs, inside the face oval."""
    return float(np.mean([_measure_psnr(picture, pair) for picture, pair in zip(pictures, pairs, strict=True)]))


def _measure_psnr(picture: np.ndarray, pair: SeedPair) -> float:
    inside = torch.from_numpy(pair.regions.oval > 0.5)[None, None].float()
    return float(masked_psnr(to_tensor(picture)[None], to_tensor(pair.target)[None], inside))
