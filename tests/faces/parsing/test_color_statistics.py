import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from dda.faces.parsing.color_statistics import (
    compute_log_colors,
    compute_log_likelihood_ratio,
    compute_squared_mahalanobis,
)


def test_exposure_shifts_log_lightness_only() -> None:
    picture = np.random.default_rng(0).integers(90, 120, (8, 8, 3)).astype(np.uint8)
    brighter = 2 * picture
    lightness, redness, greenness = (
        after - before for before, after in zip(compute_log_colors(picture), compute_log_colors(brighter), strict=True)
    )
    assert lightness.min() > 0.55 and lightness.max() < np.log(2)
    assert max(np.abs(redness).max(), np.abs(greenness).max()) < 0.04


def test_the_ratio_of_classes_that_differ_in_one_channel_follows_that_channel() -> None:
    """For two Gaussians with one covariance the ratio is linear, 0 half-way, and differs by D^2 between the means."""
    random = np.random.default_rng(0)
    colors = random.normal(size=(3, 100, 200))
    positives = np.zeros((100, 200), bool)
    positives[:, :100] = True
    colors[1] += np.where(positives, 1.5, -1.5)
    ratio = compute_log_likelihood_ratio(colors, positives, ~positives)
    assert ratio.shape == (100, 200)
    assert np.corrcoef(ratio.ravel(), colors[1].ravel())[0, 1] > 0.99
    np.testing.assert_allclose((ratio[positives].mean(), ratio[~positives].mean()), (4.5, -4.5), rtol=0.05)


def test_the_ratio_depends_on_the_examples_only() -> None:
    random = np.random.default_rng(0)
    colors = random.normal(size=(3, 20, 30))
    positives, negatives = np.zeros((2, 20, 30), bool)
    positives[:, :5] = negatives[:, 5:10] = True
    before = compute_log_likelihood_ratio(colors, positives, negatives)
    colors[:, :, 20:] += 7
    np.testing.assert_allclose(compute_log_likelihood_ratio(colors, positives, negatives)[:, :20], before[:, :20])


@pytest.mark.parametrize("hues", ["distinct", "none"])
def test_the_ratio_agrees_with_scikit_learn(hues: str) -> None:
    random = np.random.default_rng(0)
    mixed = np.einsum("ij,jhw->ihw", [[0.3, 0, 0], [0.1, 0.05, 0], [0.02, 0.01, 0.01]], random.normal(size=(3, 40, 50)))
    positives, negatives = np.zeros((2, 40, 50), bool)
    positives[:, :10] = negatives[:, 30:] = True
    colors = (mixed + np.where(positives, 0.1, 0.0)) * (1 if hues == "distinct" else np.eye(3)[:1].T[..., None])
    reference = LinearDiscriminantAnalysis(priors=[0.5, 0.5])
    reference.fit(np.concatenate([colors[:, negatives], colors[:, positives]], axis=1).T, [False] * 800 + [True] * 400)
    expected = reference.decision_function(colors.reshape(3, -1).T).reshape(40, 50)
    np.testing.assert_allclose(compute_log_likelihood_ratio(colors, positives, negatives), expected, atol=1e-6)


def test_the_mahalanobis_distance_is_in_standard_deviations() -> None:
    random = np.random.default_rng(0)
    colors = random.normal(size=(3, 100, 100)) * np.array([0.5, 0.1, 0.02])[:, None, None] + 1
    examples = np.zeros((100, 100), bool)
    examples[:50] = True
    distance = compute_squared_mahalanobis(colors, examples)
    assert distance.shape == (100, 100)
    np.testing.assert_allclose(distance[50:].mean(), 3, rtol=0.1)  # chi squared with three degrees of freedom
    colors[:, 99, 99] = 1 + np.array([0, 0.4, 0])
    np.testing.assert_allclose(compute_squared_mahalanobis(colors, examples)[99, 99], 16, rtol=0.1)
