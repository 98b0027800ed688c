"""Separability: whether styles can be told apart by the color changes of the regions."""

from collections.abc import Sequence

import numpy as np

from dda.metrics.metric import Column, PairSet
from dda.regions import REGIONS

NUM_NEIGHBORS = 5
"""Neighbors that vote for the style of a pair."""

NUM_FOLDS = 5
"""Groups of people; the neighbors of a pair come from the other groups."""


class Separability:
    """Accuracy of guessing the style of a pair from its color changes (:func:`measure_separability`).

    Range [0, 1], higher is better; chance is one over the number of styles. Empty for fewer than two named styles or
    too few people.
    """

    requirement = "it needs at least two named styles, and more pairs of more faces"
    uses_inception = False
    column = Column(
        name="separability",
        unit="",
        low=0,
        high=1,
        better="higher",
        about="How often a pair's style is guessed right from the color change of its regions, by the five most alike "
        "pairs of other people (a picture counts as a person); by chance one over the number of styles. Styles that "
        "are apart are not yet good.",
    )

    def __call__(self, pairs: PairSet) -> dict[Column, float]:
        """Return the accuracy by column."""
        has_style = np.array([bool(style) for style in pairs.styles])
        if not has_style.any():
            return {}
        styles, people = np.asarray(pairs.styles)[has_style], np.asarray(pairs.people)[has_style]
        accuracy = measure_separability(pairs.color_changes[has_style], styles, people)
        return {} if np.isnan(accuracy) else {self.column: accuracy}


def measure_separability(color_changes: np.ndarray, styles: Sequence[str], people: Sequence[str]) -> float:
    """Return the accuracy of a k-nearest-neighbor classifier under cross-validation grouped by people.

    Each number is scaled by its standard deviation over the set (lips change ten times as much as skin), and two pairs
    are compared in the regions that both have. Pairs without any region do not count.

    Args:
        color_changes: mean CIELAB change of each region (N, 4, 3), NaN where a face lacks it.
        styles: N names.
        people: whose face each pair shows, N names.

    Returns:
        the accuracy in [0, 1]; NaN for one style, or too few people for the folds.

    Example:
        >>> changes = np.zeros((20, 4, 3))
        >>> changes[::2, 1, 1] = 10  # every second pair has redder lips
        >>> people = [f"person {number // 2}" for number in range(20)]
        >>> measure_separability(changes, ["Red lip", "Bare"] * 10, people)
        1.0
    """
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    has_region = np.isfinite(color_changes).any((1, 2))
    features = color_changes.reshape(len(color_changes), 3 * len(REGIONS))[has_region]
    labels, groups = np.asarray(styles)[has_region], np.asarray(people)[has_region]
    if len(set(labels)) < 2 or len(set(groups)) < NUM_FOLDS:
        return np.nan
    features = features[:, np.isfinite(features).any(0)]
    classifier = make_pipeline(StandardScaler(), KNeighborsClassifier(NUM_NEIGHBORS, metric="nan_euclidean"))
    folds = list(GroupKFold(NUM_FOLDS).split(features, labels, groups))
    if min(len(train) for train, _ in folds) < NUM_NEIGHBORS:
        return np.nan
    guesses = cross_val_predict(classifier, features, labels, cv=folds)
    return float(np.mean(guesses == labels))
