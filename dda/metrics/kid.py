"""KID (Binkowski et al. 2018): distance of two sets of pictures by a cubic kernel on Inception's features."""

import warnings

import torch
from torchmetrics.image.kid import KernelInceptionDistance

from dda.metrics.inception import WEIGHTS_LABEL
from dda.metrics.metric import Column, PairSet
from dda.metrics.set_distance import measure_set_distance

SUBSETS, SUBSET_SIZE = 100, 50

COLUMN = Column(
    name="kid",
    unit="",
    low=-1,
    high=float("inf"),
    better="lower",
    about="Kernel distance of the targets, as a set, to the true ones where there is an oracle; "
    "unbiased for small sets too, but noisy, and it sees no single pair.",
    weights=WEIGHTS_LABEL,
)


class Kid:
    """KID of the targets to the true ones, beside that of the untouched sources, a :class:`SetMetric`."""

    needs = "it needs at least two pairs, with an oracle where one was given"

    def __call__(self, pairs: PairSet) -> dict[Column, float]:
        """Return the distances; nothing for fewer than two pairs."""
        return measure_set_distance(COLUMN, lambda true, made: compute_kid(true, made, pairs.seed), pairs)


def compute_kid(true: torch.Tensor, made: torch.Tensor, seed: int = 0) -> float:
    """Return the KID of two sets of features (N, D) and (M, D), at least two of each: the mean over seeded subsets."""
    size = min(SUBSET_SIZE, len(true), len(made))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it keeps the features, which are here already
        metric = KernelInceptionDistance(torch.nn.Identity(), subsets=SUBSETS, subset_size=size)
    metric.update(true.cpu(), real=True)
    metric.update(made.cpu(), real=False)
    with torch.random.fork_rng(devices=[]):  # torchmetrics draws the subsets from the global generator
        torch.manual_seed(seed)
        return float(metric.compute()[0])
