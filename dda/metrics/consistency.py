"""Consistency: whether a style does the same to everybody."""

from collections.abc import Sequence

import numpy as np

from dda.metrics.metric import Column, PairSet
from dda.regions import REGIONS


def make_column(style: str) -> Column:
    """Return the column of one style's consistency."""
    return Column(
        name=f"consistency {style}",
        unit="",
        low=-1,
        high=1,
        better="higher",
        about=f"How alike the color change of {style} is from person to person (mean cosine over all pairs of "
        "people); a style that ought to suit each person differently is rightly below 1.",
    )


class Consistency:
    """How alike each style is from person to person (:func:`consistency`), a :class:`SetMetric`."""

    needs = "it needs a named style on at least two faces"

    def __call__(self, pairs: PairSet) -> dict[Column, float]:
        """Return the mean cosine in [-1, 1] of each style that two people wear."""
        named = np.array([bool(style) for style in pairs.styles])
        if not named.any():
            return {}
        styles, people = np.asarray(pairs.styles)[named], np.asarray(pairs.people)[named]
        found = measure_consistency(pairs.changes[named], styles, people)
        return {make_column(style): value for style, value in found.items() if not np.isnan(value)}


def measure_consistency(changes: np.ndarray, styles: Sequence[str], people: Sequence[str]) -> dict[str, float]:
    """Return by style the mean cosine of the color changes over all pairs of different people; NaN for one person.

    Pairs without any region do not count.

    Args:
        changes: mean CIELAB change of each region (N, 4, 3), NaN where a face lacks it (counts as no change).
        styles: N names.
        people: whose face each pair shows, N names.
    """
    painted = np.isfinite(changes).any((1, 2))
    flat = np.nan_to_num(changes.reshape(len(changes), 3 * len(REGIONS))[painted])
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = flat / np.maximum(length, 1e-12)
    worn, who = np.asarray(styles)[painted], np.asarray(people)[painted]
    return {style: _mean_cosine(unit[worn == style], who[worn == style]) for style in sorted(set(styles))}


def _mean_cosine(unit: np.ndarray, who: np.ndarray) -> float:
    """Return the mean cosine over all pairs of rows (N, D) of different people, without the N x N matrix."""
    if not len(who):
        return np.nan
    _, person = np.unique(who, return_inverse=True)
    sums = np.zeros((person.max() + 1, unit.shape[1]))
    np.add.at(sums, person, unit)
    counts = np.bincount(person)
    pairs = counts.sum() ** 2 - (counts**2).sum()
    total = sums.sum(0)
    return float((total @ total - (sums * sums).sum()) / pairs) if pairs else np.nan
