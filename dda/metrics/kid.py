"""KID (Binkowski et al. 2018): distance of two sets of pictures by a cubic kernel on Inception's features."""

import warnings

import torch
from torchmetrics.image.kid import KernelInceptionDistance

from dda.metrics.inception import WEIGHTS_LABEL
from dda.metrics.metric import Column, PairSet
from dda.metrics.set_distance import REQUIREMENT, measure_set_distance

NUM_SUBSETS = 100
"""Random subsets over which the distance is averaged."""

MAX_SUBSET_SIZE = 50
"""Pictures in a subset; all of a smaller set."""


class Kid:
    """KID of the targets to the oracle, and of the sources to the oracle; without an oracle of targets to sources.

    Range [-1, inf), lower is better; unbiased, so it may be negative. Empty for fewer than two pairs.
    """

    requirement = REQUIREMENT
    uses_inception = True
    column = Column(
        name="kid",
        unit="",
        low=-1,
        high=float("inf"),
        better="lower",
        about="Kernel distance of the targets, as a set, to the true ones where there is an oracle; "
        "unbiased for small sets too, but noisy, and it sees no single pair.",
        weights=WEIGHTS_LABEL,
    )

    def __call__(self, pairs: PairSet) -> dict[Column, float]:
        """Return the distances by column."""
        return measure_set_distance(self.column, lambda a, b: compute_kid(a, b, pairs.seed), pairs)


def compute_kid(a: torch.Tensor, b: torch.Tensor, seed: int = 0) -> float:
    """Return the kernel distance of two sets of features (N, D) and (M, D), at least two of each.

    It is the mean over random subsets, which the seed decides.

    Example:
        >>> features = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
        >>> compute_kid(features, features + 2) > 10 * abs(compute_kid(features, features))
        True
    """
    size = min(MAX_SUBSET_SIZE, len(a), len(b))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # it warns that it stores all features
        metric = KernelInceptionDistance(torch.nn.Identity(), subsets=NUM_SUBSETS, subset_size=size)
    metric.update(a.cpu(), real=True)
    metric.update(b.cpu(), real=False)
    with torch.random.fork_rng(devices=[]):  # torchmetrics draws the subsets from the global generator
        torch.manual_seed(seed)
        return float(metric.compute()[0])
