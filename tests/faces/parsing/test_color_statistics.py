import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from dda.faces.parsing.color_statistics import (
    compute_log_colors,
    compute_log_likelihood_ratio,
    compute_squared_mahalanobis,
)


def test_exposure_shifts_the_logarithm_of_lightness_alone() -> None:
    picture = np.random.default_rng(0).integers(90, 120, (8, 8, 3)).astype(np.uint8)
    brighter = 2 * picture
    light, red, green = (
        after - before for before, after in zip(compute_log_colors(picture), compute_log_colors(brighter), strict=True)
    )
    assert light.min() > 0.55 and light.max() < np.log(2)
    assert max(np.abs(red).max(), np.abs(green).max()) < 0.04


def test_colors_that_are_told_apart_by_one_channel_have_a_ratio_of_that_channel() -> None:
    """Two normals with one covariance: the ratio is linear, zero half-way, and D^2 apart at the two means."""
    draws = np.random.default_rng(0)
    colors = draws.normal(size=(3, 100, 200))
    these = np.zeros((100, 200), bool)
    these[:, :100] = True
    colors[1] += np.where(these, 1.5, -1.5)
    ratio = compute_log_likelihood_ratio(colors, these, ~these)
    assert ratio.shape == (100, 200)
    assert np.corrcoef(ratio.ravel(), colors[1].ravel())[0, 1] > 0.99
    np.testing.assert_allclose((ratio[these].mean(), ratio[~these].mean()), (4.5, -4.5), rtol=0.05)


def test_only_the_examples_teach() -> None:
    draws = np.random.default_rng(0)
    colors = draws.normal(size=(3, 20, 30))
    these, those = np.zeros((2, 20, 30), bool)
    these[:, :5] = those[:, 5:10] = True
    before = compute_log_likelihood_ratio(colors, these, those)
    colors[:, :, 20:] += 7
    np.testing.assert_allclose(compute_log_likelihood_ratio(colors, these, those)[:, :20], before[:, :20])


@pytest.mark.parametrize("hues", ["of their own", "none"])
def test_the_ratio_is_that_of_another_implementation(hues: str) -> None:
    draws = np.random.default_rng(0)
    mixed = np.einsum("ij,jhw->ihw", [[0.3, 0, 0], [0.1, 0.05, 0], [0.02, 0.01, 0.01]], draws.normal(size=(3, 40, 50)))
    these, those = np.zeros((2, 40, 50), bool)
    these[:, :10] = those[:, 30:] = True
    colors = (mixed + np.where(these, 0.1, 0.0)) * (1 if hues == "of their own" else np.eye(3)[:1].T[..., None])
    seen = LinearDiscriminantAnalysis(priors=[0.5, 0.5])
    seen.fit(np.concatenate([colors[:, those], colors[:, these]], axis=1).T, [False] * 800 + [True] * 400)
    expected = seen.decision_function(colors.reshape(3, -1).T).reshape(40, 50)
    np.testing.assert_allclose(compute_log_likelihood_ratio(colors, these, those), expected, atol=1e-6)


def test_unlikeness_is_the_squared_distance_in_spreads() -> None:
    draws = np.random.default_rng(0)
    colors = draws.normal(size=(3, 100, 100)) * np.array([0.5, 0.1, 0.02])[:, None, None] + 1
    these = np.zeros((100, 100), bool)
    these[:50] = True
    found = compute_squared_mahalanobis(colors, these)
    assert found.shape == (100, 100)
    np.testing.assert_allclose(found[50:].mean(), 3, rtol=0.1)  # chi squared with three degrees of freedom
    colors[:, 99, 99] = 1 + np.array([0, 0.4, 0])
    np.testing.assert_allclose(compute_squared_mahalanobis(colors, these)[99, 99], 16, rtol=0.1)
