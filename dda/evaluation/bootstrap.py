"""The bootstrap (Efron 1979): how sure the mean of a metric is, given so few people."""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.stats import norm, t

from dda.evaluation.result import Statistic

RESAMPLES = 1000

LEVEL = 0.95
"""How often an interval holds the true mean."""

MIN_PEOPLE = 5
"""Fewer say too little: of three people, even from the least to the largest of their means covers it in 75 % only."""

CHUNK = 2**20
"""Draws that are held at once: all thousand resamples of 90,000 people would take two GB."""


def bootstrap(values: np.ndarray, people: Sequence[str], seed: int = 0) -> Statistic:
    """Return mean, standard deviation and the 95 % interval of the mean, of the values (N,) that are finite.

    It is the people that are drawn, with all their pairs: pairs of one face are no independent evidence. The interval
    is the expanded percentile interval (Hesterberg 2015, "What Teachers Should Know About the Bootstrap"): taken as
    they are, percentiles are too narrow for few people. With fewer than `MIN_PEOPLE` it is not known (NaN); nor is the
    standard deviation of one pair. Seeded.

    Args:
        values: one number a pair, (N,); NaN and infinities do not count.
        people: whose face each pair shows, N names.
        seed: of the draws.
    """
    known = np.isfinite(values)
    values, (_, person) = values[known], np.unique(np.asarray(people, object)[known].astype(str), return_inverse=True)
    if not len(values):
        return Statistic(np.nan, np.nan, np.nan, np.nan, 0)
    mean = float(values.mean())
    sd = float(values.std(ddof=1)) if len(values) > 1 else np.nan
    sums, counts = np.bincount(person, values), np.bincount(person)
    if len(counts) < MIN_PEOPLE:
        return Statistic(mean, sd, np.nan, np.nan, len(values))
    tail = tail_share(len(counts))
    low, high = np.quantile(np.concatenate(list(_resample_means(sums, counts, seed))), [tail, 1 - tail])
    return Statistic(mean, sd, float(low), float(high), len(values))


def tail_share(people: int) -> float:
    """Return the share on either side of the interval, in (0, 0.025): Phi(-sqrt(n / (n - 1)) t), t of n - 1 degrees."""
    student = t.ppf((1 + LEVEL) / 2, people - 1)
    return float(norm.cdf(-np.sqrt(people / (people - 1)) * student))


def _resample_means(sums: np.ndarray, counts: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Yield the means of `RESAMPLES` draws of as many people, in chunks; their size changes no number.

    Args:
        sums, counts: sum and number of the values of each person, (P,).
        seed: of the draws.
    """
    random, people = np.random.default_rng(seed), len(counts)
    rows = max(1, CHUNK // people)
    for begin in range(0, RESAMPLES, rows):
        drawn = random.integers(people, size=(min(rows, RESAMPLES - begin), people))
        yield sums[drawn].sum(1) / counts[drawn].sum(1)
