"""Numbers of a set: separability, consistency, skin tone, the bootstrap."""

import math
import tracemalloc

import numpy as np
import pytest
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from dda.evaluation.bootstrap import CHUNK, RESAMPLES, bootstrap, tail_share
from dda.metrics.consistency import measure_consistency
from dda.metrics.separability import measure_separability
from dda.metrics.skin_tone import tone_gap

PEOPLE, STYLES = 12, ("red", "smokey", "bare")


@pytest.fixture
def made() -> tuple[np.ndarray, list[str], list[str]]:
    """Changes (36, 4, 3) of twelve people in three styles: each has its own color, each person a way to wear it."""
    random = np.random.default_rng(0)
    color = {"red": (1, 1), "smokey": (0, 0), "bare": (2, 2)}
    changes, styles, people = [], [], []
    for person in range(PEOPLE):
        habit = random.normal(0, 1.5, (4, 3))
        for style in STYLES:
            change = habit + random.normal(0, 1, (4, 3))
            change[color[style]] += 8
            changes.append(change)
            styles.append(style)
            people.append(f"person {person}")
    return np.array(changes), styles, people


def test_separability_agrees_with_neighbors_counted_by_hand(made: tuple[np.ndarray, list[str], list[str]]) -> None:
    changes, styles, people = made
    changes = changes + np.random.default_rng(1).normal(0, 4, changes.shape)  # so that not all are guessed right
    flat = changes.reshape(len(changes), -1)
    fold_of = {person: fold for fold, group in enumerate(_folds(people)) for person in group}
    right = 0
    for row, (style, person) in enumerate(zip(styles, people, strict=True)):
        others = [i for i, other in enumerate(people) if fold_of[other] != fold_of[person]]
        mean, spread = flat[others].mean(0), flat[others].std(0)
        distance = np.linalg.norm((flat[others] - flat[row]) / spread, axis=1) if mean.size else []
        nearest = [styles[others[i]] for i in np.argsort(distance)[:5]]
        votes = {name: nearest.count(name) for name in sorted(set(nearest))}
        right += max(votes, key=lambda name: votes[name]) == style
    found = measure_separability(changes, styles, people)
    assert found == pytest.approx(right / len(styles), abs=1e-9)
    assert 0.4 < found < 1


def _folds(people: list[str]) -> list[set[str]]:
    from sklearn.model_selection import GroupKFold

    names = np.array(people)
    return [set(names[test]) for _, test in GroupKFold(5).split(names, groups=names)]


def test_separability_is_near_scikit_learn_leaving_out_one_person_at_a_time(
    made: tuple[np.ndarray, list[str], list[str]],
) -> None:
    changes, styles, people = made
    flat = StandardScaler().fit_transform(changes.reshape(len(changes), -1))
    guesses = cross_val_predict(KNeighborsClassifier(5), flat, styles, groups=people, cv=LeaveOneGroupOut())
    assert measure_separability(changes, styles, people) == pytest.approx(
        np.mean(guesses == np.array(styles)), abs=0.06
    )


def test_a_person_is_never_its_own_neighbor() -> None:
    """Each person's pairs are alike and no two people's are: by looking at itself every style would be guessed."""
    random = np.random.default_rng(0)
    changes = np.repeat(random.normal(0, 10, (20, 4, 3)), 5, axis=0) + random.normal(0, 0.01, (100, 4, 3))
    people = [f"{i // 5}" for i in range(100)]
    styles = ["red" if int(person) % 2 else "bare" for person in people]
    assert measure_separability(changes, styles, people) < 0.75


def test_styles_that_differ_in_nothing_are_not_told_apart(made: tuple[np.ndarray, list[str], list[str]]) -> None:
    changes, styles, people = made
    assert measure_separability(changes, styles, people) > 0.9
    noise = np.random.default_rng(2).normal(size=changes.shape)
    assert measure_separability(noise, styles, people) < 0.6


def test_missing_regions_do_not_count(made: tuple[np.ndarray, list[str], list[str]]) -> None:
    changes, styles, people = made
    changes = changes.copy()
    changes[:9, 0] = np.nan  # three people whose eyes are covered
    changes[9:12] = np.nan  # one without a face
    assert measure_separability(changes, styles, people) > 0.85
    changes[:, 3] = np.nan  # brows that nobody shows
    assert measure_separability(changes, styles, people) > 0.85


def test_separability_needs_two_styles_and_five_people(made: tuple[np.ndarray, list[str], list[str]]) -> None:
    changes, styles, people = made
    assert math.isnan(measure_separability(changes, ["red"] * len(styles), people))
    assert math.isnan(measure_separability(changes[:12], styles[:12], people[:12]))
    assert math.isnan(measure_separability(np.full_like(changes, np.nan), styles, people))


def test_consistency_is_the_mean_cosine_between_people() -> None:
    random = np.random.default_rng(0)
    changes = random.normal(size=(6, 4, 3)) + 1
    people = ["a", "a", "b", "c", "c", "d"]
    flat = changes.reshape(6, -1)
    unit = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    pairs = [(i, j) for i in range(6) for j in range(i) if people[i] != people[j]]
    expected = np.mean([unit[i] @ unit[j] for i, j in pairs])
    found = measure_consistency(changes, ["red"] * 6, people)
    assert found == {"red": pytest.approx(expected)}
    assert measure_consistency(np.ones((3, 4, 3)), ["red"] * 3, ["a", "b", "c"])["red"] == pytest.approx(1)


def test_consistency_of_one_person_is_not_known() -> None:
    found = measure_consistency(np.ones((4, 4, 3)), ["red", "red", "bare", "bare"], ["a", "a", "a", "b"])
    assert math.isnan(found["red"]) and found["bare"] == pytest.approx(1)
    unseen = measure_consistency(np.full((2, 4, 3), np.nan), ["red", "red"], ["a", "b"])
    assert math.isnan(unseen["red"])


def test_the_tone_gap_is_the_lightest_third_less_the_darkest() -> None:
    ita = np.array([60.0, -40, 20, 50, -60, 0, np.nan, 10])
    values = np.array([3.0, 1, 2, 3, 1, 2, 100, np.nan])
    people = [str(number) for number in range(8)]
    found = tone_gap(values, ita, people)
    assert found.gap == pytest.approx(2)
    assert found.spearman == pytest.approx(0.956, abs=1e-3)
    flat = tone_gap(np.ones(8), ita, people)
    assert flat.gap == 0 and math.isnan(flat.spearman)
    assert math.isnan(tone_gap(values, ita, ["light", "dark"] * 4).gap)  # one person less another
    one_face = tone_gap(values, np.full(8, 20.0), people)
    assert math.isnan(one_face.gap) and math.isnan(one_face.spearman)


@pytest.mark.parametrize("people", [8, 40])
def test_the_bootstrap_covers_the_mean_as_often_as_it_says(people: int) -> None:
    """Percentiles as they are cover it in 88 % of the trials with eight people; with five these do in 91 %."""
    random = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        found = bootstrap(random.normal(5, 2, people), [str(i) for i in range(people)], seed=trial)
        covered += found.low <= 5 <= found.high
    assert 0.9 <= covered / 200 <= 0.99


def test_the_bootstrap_draws_people_and_not_pairs() -> None:
    person = np.random.default_rng(0).normal(5, 2, 10)
    values, people = np.repeat(person, 10), [str(i // 10) for i in range(100)]
    of_people = bootstrap(values, people)
    of_pairs = bootstrap(values, [str(i) for i in range(100)])
    assert of_people.mean == of_pairs.mean == pytest.approx(person.mean())
    assert of_people.high - of_people.low > 2 * (of_pairs.high - of_pairs.low)


def test_the_bootstrap_of_few_values() -> None:
    values, people = np.array([1.0, np.nan, 3.0, 2.0, 5.0, 4.0]), list("abcdef")
    known = np.isfinite(values)
    all_values = bootstrap(values, people, seed=3)
    assert all_values == bootstrap(values[known], [*np.array(people)[known]], seed=3) and all_values.low < 3
    assert math.isnan(bootstrap(values[:5], people[:5]).low)  # four people
    found = bootstrap(np.array([1.0, np.nan, 3.0]), ["a", "b", "c"])
    assert (found.mean, found.sd, found.count) == (2, pytest.approx(math.sqrt(2)), 2)
    assert bootstrap(np.array([np.nan]), ["a"]).count == 0
    alone = bootstrap(np.array([1.0, 3.0]), ["a", "a"])
    assert alone.mean == 2 and math.isnan(alone.low)
    assert bootstrap(np.array([math.inf, 30.0]), ["a", "b"]) == bootstrap(np.array([np.nan, 30.0]), ["a", "b"])


def test_the_bootstrap_in_chunks_is_the_one_drawn_at_once() -> None:
    random = np.random.default_rng(0)
    people = np.concatenate([np.arange(2500), random.integers(2500, size=1000)])
    values = random.normal(5, 2, len(people))
    assert len(people) * RESAMPLES > 3 * CHUNK
    drawn = np.random.default_rng(7).integers(2500, size=(RESAMPLES, 2500))
    means = np.bincount(people, values)[drawn].sum(1) / np.bincount(people)[drawn].sum(1)
    found = bootstrap(values, [f"{person:04d}" for person in people], seed=7)
    assert (found.low, found.high) == tuple(np.quantile(means, [tail_share(2500), 1 - tail_share(2500)]))


def test_the_bootstrap_of_many_people_stays_small() -> None:
    values, people = np.random.default_rng(0).normal(size=20_000), [str(person) for person in range(20_000)]
    tracemalloc.start()
    try:
        bootstrap(values, people)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 64 * 2**20  # all draws at once are 160 million bytes, and twice as many more for what is drawn
