"""Watching a training: what its model paints on a few faces, and how near that is to the truth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dda.images import to_tensor, to_uint8
from dda.metrics.psnr import masked_psnr
from dda.models.compact.network import CompactResidualModel
from dda.models.compact.pipeline import CompactPipeline
from dda.models.residual_pipeline import ResidualPipeline
from dda.models.residuals import compose
from dda.regions import REGIONS
from dda.report.samples import GridRow, samples_visualization
from dda.seeds import pair_noise
from dda.styles import Style
from dda.tracking.tracker import Tracker
from dda.training.seed_pairs import AlignedPair

GRID_FACES = 6


@dataclass
class Validator:
    """Measures a model on ``pairs`` and shows it on the first of them.

    ``kind`` ("held-out" or "seed") names the figures, ``steps`` and ``seed`` are those of sampling.
    """

    pairs: Sequence[AlignedPair]
    kind: str
    steps: int
    seed: int
    tracker: Tracker

    def look(self, model: CompactResidualModel, update: int) -> dict[str, float]:
        """Paint the pairs, and show them."""
        amplifier = CompactPipeline(model, self.steps, model.device)
        return self.show(paint_pairs(amplifier, self.pairs, self.seed), update)

    def show(self, painted: Sequence[np.ndarray], update: int) -> dict[str, float]:
        """Log and return the mean PSNR inside the face oval in dB, beside the untouched source's; log a figure.

        Args:
            painted: the model's targets for ``pairs``.
            update: how far the training is.
        """
        figures = {
            f"{self.kind} PSNR, dB": mean_psnr(painted, self.pairs),
            f"{self.kind} PSNR of the untouched source, dB": mean_psnr(
                [pair.source for pair in self.pairs], self.pairs
            ),
        }
        self.tracker.log(figures, step=update)
        rows = [
            GridRow(pair.source, {"Truth": pair.target, "Model": picture})
            for pair, picture in zip(self.pairs[:GRID_FACES], painted, strict=False)
        ]
        self.tracker.log_image("progress", samples_visualization(rows), caption=f"update {update}")
        return figures


def paint_pairs(amplifier: CompactPipeline, pairs: Sequence[AlignedPair], seed: int) -> list[np.ndarray]:
    """The amplifier's own targets, uint8 (512, 512, 3), for the sources and styles of ``pairs``."""
    return [paint_pair(amplifier, pair, amplifier.styles[pair.style], seed) for pair in pairs]


@torch.no_grad()
def paint_pair(amplifier: ResidualPipeline[Any], pair: AlignedPair, style: str, seed: int) -> np.ndarray:
    """The amplifier's own target, uint8 (512, 512, 3), for the source of a pair in the style of that name."""
    worn = Style(style, dict.fromkeys(REGIONS, style), dict.fromkeys(REGIONS, 1.0))
    source = to_tensor(pair.source)[None].to(amplifier.device)
    masks = torch.from_numpy(pair.regions.masks)[None].to(amplifier.device)
    noise = pair_noise(amplifier.noise_shape, seed, "holdout", attempt=0)[None].to(amplifier.device)
    shared = amplifier.encode_faces(source, masks, [pair.regions.face], noise)
    residuals = amplifier.residuals(shared, [0], [worn])
    return to_uint8(compose(source, masks, residuals, amplifier.gains()[None])[0].cpu())


def mean_psnr(pictures: Sequence[np.ndarray], pairs: Sequence[AlignedPair]) -> float:
    """Mean PSNR in dB of pictures against the pairs' true targets, inside the face oval."""
    return float(np.mean([_psnr(picture, pair) for picture, pair in zip(pictures, pairs, strict=True)]))


def _psnr(picture: np.ndarray, pair: AlignedPair) -> float:
    inside = torch.from_numpy(pair.regions.oval > 0.5)[None, None].float()
    return float(masked_psnr(to_tensor(picture)[None], to_tensor(pair.target)[None], inside))
