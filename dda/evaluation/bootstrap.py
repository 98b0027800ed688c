"""Bootstrap intervals (Efron 1979) of the mean of a metric over people."""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.stats import norm, t

from dda.evaluation.result import Statistic

NUM_RESAMPLES = 1000
"""Resamples of the people."""

CONFIDENCE_LEVEL = 0.95
"""How often an interval contains the true mean."""

MIN_PEOPLE = 5
"""People that an interval needs: from the smallest to the largest mean of three people covers the true one in 75 %."""

MAX_CHUNK_SIZE = 2**20
"""Draws in memory at once: all resamples of 90,000 people would take two GB."""


def bootstrap(values: np.ndarray, people: Sequence[str], seed: int = 0) -> Statistic:
    """Return mean, standard deviation and the 95 % interval of the mean of the finite values.

    People are resampled with all their pairs, because pairs of one face are not independent. The interval is the
    expanded percentile interval (Hesterberg 2015, "What Teachers Should Know About the Bootstrap"), since plain
    percentiles are too narrow for few people.

    Args:
        values: one number for each pair, (N,); NaN and infinities do not count.
        people: whose face each pair shows, N names.
        seed: of the draws.

    Returns:
        the statistic; the interval is NaN for fewer than `MIN_PEOPLE` people, the standard deviation for one pair.
    """
    is_known = np.isfinite(values)
    values = values[is_known]
    _, person = np.unique(np.asarray(people, object)[is_known].astype(str), return_inverse=True)
    if not len(values):
        return Statistic(np.nan, np.nan, np.nan, np.nan, 0)
    mean = float(values.mean())
    sd = float(values.std(ddof=1)) if len(values) > 1 else np.nan
    sums, counts = np.bincount(person, values), np.bincount(person)
    if len(counts) < MIN_PEOPLE:
        return Statistic(mean, sd, np.nan, np.nan, len(values))
    tail = expanded_tail(len(counts))
    means = np.concatenate(list(_resample_means(sums, counts, seed)))
    low, high = np.quantile(means, [tail, 1 - tail])
    return Statistic(mean, sd, float(low), float(high), len(values))


def expanded_tail(num_people: int) -> float:
    """Return the probability on either side of the interval, in (0, 0.025).

    It is Phi(-sqrt(n / (n - 1)) t), where t is the quantile of Student's t with n - 1 degrees of freedom.
    """
    student_t = t.ppf((1 + CONFIDENCE_LEVEL) / 2, num_people - 1)
    return float(norm.cdf(-np.sqrt(num_people / (num_people - 1)) * student_t))


def _resample_means(sums: np.ndarray, counts: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """Yield the means of `NUM_RESAMPLES` resamples in chunks; the size of the chunks does not change them.

    Args:
        sums: sum of the values of each person, (P,).
        counts: number of the values of each person, (P,).
        seed: of the draws.
    """
    generator, num_people = np.random.default_rng(seed), len(counts)
    rows = max(1, MAX_CHUNK_SIZE // num_people)
    for begin in range(0, NUM_RESAMPLES, rows):
        drawn = generator.integers(num_people, size=(min(rows, NUM_RESAMPLES - begin), num_people))
        yield sums[drawn].sum(1) / counts[drawn].sum(1)
