"""The bootstrap (Efron 1979): how sure the mean of a metric is, given so few people."""

from collections.abc import Sequence

import numpy as np

from dda.metrics.result import Statistic

RESAMPLES = 1000


def bootstrap(values: np.ndarray, people: Sequence[str], seed: int = 0) -> Statistic:
    """Mean, standard deviation and the 95 % percentile interval of the mean, of the values (N,) that are not NaN.

    It is the people that are drawn, with all their pairs: pairs of one face are no independent evidence. With one
    person the interval is not known (NaN); nor is the standard deviation of one pair. Seeded.

    Args:
        values: one number a pair, (N,).
        people: whose face each pair shows, N names.
        seed: of the draws.
    """
    known = ~np.isnan(values)
    values, (_, person) = values[known], np.unique(np.asarray(people, object)[known].astype(str), return_inverse=True)
    if not len(values):
        return Statistic(np.nan, np.nan, np.nan, np.nan, 0)
    mean = float(values.mean())
    if not np.isfinite(values).all():  # PSNR of equal pictures
        return Statistic(mean, np.nan, np.nan, np.nan, len(values))
    sd = float(values.std(ddof=1)) if len(values) > 1 else np.nan
    sums, counts = np.bincount(person, values), np.bincount(person)
    if len(counts) < 2:
        return Statistic(mean, sd, np.nan, np.nan, len(values))
    draws = np.random.default_rng(seed).integers(len(counts), size=(RESAMPLES, len(counts)))
    means = sums[draws].sum(1) / counts[draws].sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Statistic(mean, sd, float(low), float(high), len(values))
