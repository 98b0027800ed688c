"""Consistency: how alike the color change of a style is from person to person."""

from collections.abc import Sequence

import numpy as np

from dda.metrics.metric import Column, PairSet
from dda.regions import REGIONS


class Consistency:
    """Mean cosine of the color changes of each style over all pairs of people (:func:`measure_consistency`).

    Range [-1, 1], higher is better. Empty where no style is on two people.
    """

    requirement = "it needs a named style on at least two faces"
    uses_inception = False

    def __call__(self, pairs: PairSet) -> dict[Column, float]:
        """Return the mean cosine of each style, by column."""
        has_style = np.array([bool(style) for style in pairs.styles])
        if not has_style.any():
            return {}
        styles, people = np.asarray(pairs.styles)[has_style], np.asarray(pairs.people)[has_style]
        cosines = measure_consistency(pairs.color_changes[has_style], styles, people)
        return {make_column(style): cosine for style, cosine in cosines.items() if not np.isnan(cosine)}


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


def measure_consistency(color_changes: np.ndarray, styles: Sequence[str], people: Sequence[str]) -> dict[str, float]:
    """Return the mean cosine of the color changes of each style over all pairs of different people.

    Pairs without any region do not count.

    Args:
        color_changes: mean CIELAB change of each region (N, 4, 3), NaN where a face lacks it (counts as no change).
        styles: N names.
        people: whose face each pair shows, N names.

    Returns:
        the mean cosine in [-1, 1] by style; NaN for a style on one person.

    Example:
        >>> changes = np.zeros((3, 4, 3))
        >>> changes[:, 1] = [[3, 4, 0], [6, 8, 0], [-3, -4, 0]]  # the third is the opposite color
        >>> measure_consistency(changes[:2], ["Red", "Red"], ["a", "b"])
        {'Red': 1.0}
        >>> measure_consistency(changes[1:], ["Red", "Red"], ["b", "c"])
        {'Red': -1.0}
    """
    has_region = np.isfinite(color_changes).any((1, 2))
    flat = np.nan_to_num(color_changes.reshape(len(color_changes), 3 * len(REGIONS))[has_region])
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    unit = flat / np.maximum(length, 1e-12)
    labels, groups = np.asarray(styles)[has_region], np.asarray(people)[has_region]
    return {style: _mean_cosine(unit[labels == style], groups[labels == style]) for style in sorted(set(styles))}


def _mean_cosine(unit: np.ndarray, people: np.ndarray) -> float:
    """Return the mean cosine over all pairs of unit rows (N, D) of different people, without an N x N matrix."""
    if not len(people):
        return np.nan
    _, person = np.unique(people, return_inverse=True)
    sums = np.zeros((person.max() + 1, unit.shape[1]))
    np.add.at(sums, person, unit)
    counts = np.bincount(person)
    num_pairs = counts.sum() ** 2 - (counts**2).sum()
    total = sums.sum(0)
    return float((total @ total - (sums * sums).sum()) / num_pairs) if num_pairs else np.nan
