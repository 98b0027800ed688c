"""FID (Heusel et al. 2017): distance of two sets of pictures, as Gaussians of Inception's features."""

import torch
from torchmetrics.image.fid import FrechetInceptionDistance

from dda.metrics.inception import WEIGHTS_LABEL
from dda.metrics.metric import Column, PairSet
from dda.metrics.set_distance import REQUIREMENT, measure_set_distance


class Fid:
    """FID of the targets to the oracle, and of the sources to the oracle; without an oracle of targets to sources.

    Range [0, inf), lower is better. Empty for fewer than two pairs.
    """

    requirement = REQUIREMENT
    uses_inception = True
    column = Column(
        name="fid",
        unit="",
        low=0,
        high=float("inf"),
        better="lower",
        about="Frechet distance of the targets, as a set, to the true ones where there is an oracle; it "
        "is far too high for fewer than some thousand pairs, and sees no single pair.",
        weights=WEIGHTS_LABEL,
    )

    def __call__(self, pairs: PairSet) -> dict[Column, float]:
        """Return the distances by column."""
        return measure_set_distance(self.column, compute_fid, pairs)


def compute_fid(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the Frechet distance of two sets of features (N, D) and (M, D), at least two of each.

    Example:
        >>> features = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
        >>> round(compute_fid(features, features + 2), 2)  # |mean difference|^2 = 4 * 2^2
        16.0
    """
    extractor = torch.nn.Identity()
    extractor.num_features = a.shape[1]  # type: ignore[assignment]  # torchmetrics reads it of an extractor
    metric = FrechetInceptionDistance(extractor)
    metric.set_dtype(torch.float64)
    metric.update(a.cpu(), real=True)
    metric.update(b.cpu(), real=False)
    return float(metric.compute())
