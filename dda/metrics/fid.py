"""FID (Heusel et al. 2017): distance of two sets of pictures, as Gaussians in Inception's features."""

import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from dda.metrics.inception import WEIGHTS_LABEL
from dda.metrics.metric import Column, PairSet
from dda.metrics.set_distance import measure_set_distance

COLUMN = Column(
    name="fid",
    unit="",
    low=0,
    high=float("inf"),
    better="lower",
    about="Frechet distance of the targets, as a set, to the true ones where there is an oracle; it "
    "is far too high for fewer than some thousand pairs, and sees no single pair.",
    weights=WEIGHTS_LABEL,
)


class Fid:
    """FID of the targets to the true ones, beside that of the untouched sources, a :class:`SetMetric`."""

    needs = "it needs at least two pairs, with an oracle where one was given"

    def __call__(self, pairs: PairSet) -> dict[Column, float]:
        """Return the distances; nothing for fewer than two pairs."""
        return measure_set_distance(COLUMN, compute_fid, pairs)


def compute_fid(true: torch.Tensor, made: torch.Tensor) -> float:
    """Return the FID of two sets of features (N, D) and (M, D), at least two of each."""
    features = torch.nn.Identity()
    features.num_features = true.shape[1]  # type: ignore[assignment]  # what torchmetrics asks of an extractor
    metric = FrechetInceptionDistance(features)
    metric.set_dtype(torch.float64)
    metric.update(true.cpu(), real=True)
    metric.update(made.cpu(), real=False)
    return float(metric.compute())
