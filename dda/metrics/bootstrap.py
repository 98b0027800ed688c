"""The bootstrap (Efron 1979): how sure the mean of a metric is, given so few people."""

from collections.abc import Iterator, Sequence

import numpy as np

from dda.metrics.result import Statistic

RESAMPLES = 1000

CHUNK = 2**20
"""Draws that are held at once: all thousand resamples of 90,000 people would take two GB."""


def bootstrap(values: np.ndarray, people: Sequence[str], seed: int = 0) -> Statistic:
    """Mean, standard deviation and the 95 % percentile interval of the mean, of the values (N,) that are finite.

    It is the people that are drawn, with all their pairs: pairs of one face are no independent evidence. With one
    person the interval is not known (NaN); nor is the standard deviation of one pair. Seeded.

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
    if len(counts) < 2:
        return Statistic(mean, sd, np.nan, np.nan, len(values))
    low, high = np.quantile(np.concatenate(list(_resampled(sums, counts, seed))), [0.025, 0.975])
    return Statistic(mean, sd, float(low), float(high), len(values))


def _resampled(sums: np.ndarray, counts: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Means of as many people, drawn anew `RESAMPLES` times, a chunk at a time; how large the chunks are is all one.

    Args:
        sums, counts: sum and number of the values of each person, (P,).
        seed: of the draws.
    """
    random, people = np.random.default_rng(seed), len(counts)
    rows = max(1, CHUNK // people)
    for begin in range(0, RESAMPLES, rows):
        drawn = random.integers(people, size=(min(rows, RESAMPLES - begin), people))
        yield sums[drawn].sum(1) / counts[drawn].sum(1)
