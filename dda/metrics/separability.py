"""Separability: whether the styles of a set can be told apart by what they do to the regions' colors."""

from collections.abc import Sequence

import numpy as np

from dda.metrics.metric import Column, PairSet
from dda.regions import REGIONS

NUM_NEIGHBORS = 5
NUM_FOLDS = 5

COLUMN = Column(
    name="separability",
    unit="",
    low=0,
    high=1,
    better="higher",
    about="How often a pair's style is guessed right from the color change of its regions, by the five most alike "
    "pairs of other people (a picture counts as a person); by chance one over the number of styles. Styles that are "
    "apart are not yet good.",
)


class Separability:
    """How well the styles of a set can be told apart (:func:`separability`), a :class:`SetMetric`."""

    needs = "it needs at least two named styles, and more pairs of more faces"

    def __call__(self, pairs: PairSet) -> dict[Column, float]:
        """Return the accuracy in [0, 1]; nothing where the set is too small."""
        named = np.array([bool(style) for style in pairs.styles])
        if not named.any():
            return {}
        styles, people = np.asarray(pairs.styles)[named], np.asarray(pairs.people)[named]
        value = measure_separability(pairs.changes[named], styles, people)
        return {} if np.isnan(value) else {COLUMN: value}


def measure_separability(changes: np.ndarray, styles: Sequence[str], people: Sequence[str]) -> float:
    """Return the accuracy of k nearest neighbors with people held out; NaN for one style or too few people.

    Each number is scaled by its spread over the set (lips move ten times as far as skin), and two pairs are compared
    in the regions that both have. Pairs without any region do not count.

    Args:
        changes: mean CIELAB change of each region (N, 4, 3), NaN where a face lacks it.
        styles: N names.
        people: whose face each pair shows, N names: nobody is in a fold and among its neighbors.
    """
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    painted = np.isfinite(changes).any((1, 2))
    features = changes.reshape(len(changes), 3 * len(REGIONS))[painted]
    worn, who = np.asarray(styles)[painted], np.asarray(people)[painted]
    if len(set(worn)) < 2 or len(set(who)) < NUM_FOLDS:
        return np.nan
    features = features[:, np.isfinite(features).any(0)]
    classifier = make_pipeline(StandardScaler(), KNeighborsClassifier(NUM_NEIGHBORS, metric="nan_euclidean"))
    folds = list(GroupKFold(NUM_FOLDS).split(features, worn, who))
    if min(len(others) for others, _ in folds) < NUM_NEIGHBORS:
        return np.nan
    guesses = cross_val_predict(classifier, features, worn, cv=folds)
    return float(np.mean(guesses == worn))
