import math

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.optimize import least_squares

from dda.faces.alignment import (
    compute_ffhq_matrix,
    compute_scale,
    fit_similarity,
    invert_matrix,
    resample,
    warp,
    warp_supersampled,
)

EYE_0, EYE_1, MOUTH_0, MOUTH_1 = np.array([[203.0, 102.0], [247.0, 110.0], [199.0, 139.0], [243.0, 150.0]])


def similarity(angle: float, scale: float, x: float, y: float) -> np.ndarray:
    a, b = scale * math.cos(angle), scale * math.sin(angle)
    return np.array([[a, -b, x], [b, a, y]])


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def smooth_picture(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    channels = [
        128 + 90 * np.sin(x / 17 + y / 31),
        128 + 90 * np.cos(x / 23 - y / 19),
        40 + 0.4 * x + 0.2 * y,
    ]
    return np.stack(channels, -1).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("angle", [0.0, 0.7, -3.0])
def test_a_similarity_is_recovered_exactly(angle: float) -> None:
    points = np.random.default_rng(0).uniform(0, 100, (5, 2))
    matrix = similarity(angle, 1.7, -20, 33)
    assert np.allclose(fit_similarity(points, apply(matrix, points)), matrix)


def test_the_fit_minimizes_the_squared_error() -> None:
    random = np.random.default_rng(1)
    points, targets = random.uniform(0, 100, (2, 6, 2))

    def error(p: np.ndarray) -> np.ndarray:
        return (apply(np.array([[p[0], -p[1], p[2]], [p[1], p[0], p[3]]]), points) - targets).ravel()

    a, b, x, y = least_squares(error, [1, 0, 0, 0]).x
    assert np.allclose(fit_similarity(points, targets), [[a, -b, x], [b, a, y]], atol=1e-4)


def test_the_ffhq_crop_has_the_corners_of_the_published_script() -> None:
    """`quad` of download_ffhq.py in NVlabs/ffhq-dataset: upper left, lower left, lower right, upper right."""
    eye_avg, eye_to_eye = (EYE_0 + EYE_1) * 0.5, EYE_1 - EYE_0
    eye_to_mouth = (MOUTH_0 + MOUTH_1) * 0.5 - eye_avg
    x = eye_to_eye - np.flipud(eye_to_mouth) * [-1, 1]
    x /= np.hypot(*x)
    x *= max(np.hypot(*eye_to_eye) * 2.0, np.hypot(*eye_to_mouth) * 1.8)
    y = np.flipud(x) * [-1, 1]
    c = eye_avg + eye_to_mouth * 0.1
    quad = np.stack([c - x - y, c - x + y, c + x + y, c + x - y])
    matrix = compute_ffhq_matrix(EYE_0, EYE_1, MOUTH_0, MOUTH_1)
    assert np.allclose(apply(matrix, np.array([[0, 0], [0, 512], [512, 512], [512, 0]])), quad)


def test_the_inverse_matrix_maps_points_back() -> None:
    matrix = similarity(0.3, 2.5, 7, -4)
    points = np.random.default_rng(2).uniform(0, 100, (4, 2))
    assert np.allclose(apply(invert_matrix(matrix), apply(matrix, points)), points)
    assert compute_scale(matrix) == pytest.approx(2.5) and compute_scale(invert_matrix(matrix)) == pytest.approx(0.4)


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.6, 3.0, 5.0])
def test_resampling_agrees_with_scipy(scale: float) -> None:
    picture = smooth_picture(600, 700)
    matrix = similarity(0.35, scale, 180, 60)
    crop = resample(picture, matrix, 64)
    y, x = np.mgrid[:64, :64] + 0.5
    at = apply(matrix, np.stack([x.ravel(), y.ravel()], 1)) - 0.5
    expected = [ndimage.map_coordinates(picture[..., c].astype(float), at[:, ::-1].T, order=1) for c in range(3)]
    assert np.abs(crop.reshape(-1, 3) - np.stack(expected, 1)).mean() < 0.6 + 0.15 * scale


@pytest.mark.parametrize("scale", [2.0, 4.0, 7.0])
def test_shrinking_is_antialiased(scale: float) -> None:
    """A checkerboard of single pixels becomes gray; without antialiasing it becomes a pattern."""
    board = np.repeat((np.indices((512, 512)).sum(0) % 2 * 255).astype(np.uint8)[..., None], 3, 2)
    crop = resample(board, similarity(0, scale, 20.3, 17.7), 48)
    assert abs(float(crop.mean()) - 127.5) < 2 and float(crop.std()) < 16


def test_the_outside_is_black_or_the_mirror_image() -> None:
    """The mirror image is exact near the edge and fades to the median color; the picture itself stays sharp."""
    picture = smooth_picture(300, 300)
    matrix = similarity(0, 1.0, -100, -70)
    black, mirrored = resample(picture, matrix, 200), resample(picture, matrix, 200, reflect=True).astype(int)
    assert not black[:68].any() and not black[:, :98].any()
    expected = np.pad(picture, ((200, 0), (200, 0), (0, 0)), mode="symmetric")[130:330, 100:300]
    assert np.abs(mirrored - expected)[66:70, 110:].max() <= 12
    assert np.abs(mirrored - np.median(mirrored, (0, 1)))[:8].max() <= 3
    assert np.array_equal(black[72:, 102:], mirrored[72:, 102:])


def test_the_mirror_image_is_blurred() -> None:
    """A sharp pattern does not continue sharply beyond the picture's edge, so a face is not seen twice."""
    stripes = np.repeat((np.arange(300) // 4 % 2 * 255).astype(np.uint8)[None, :, None], 300, 0).repeat(3, 2)
    crop = resample(stripes, similarity(0, 1.0, 20, -80), 200, reflect=True).astype(float)
    assert crop[84:, :, 0].std(1).min() > 100 > 20 > crop[:74, :, 0].std(1).max()


def test_far_outside_is_black_or_the_median_color() -> None:
    picture = smooth_picture(40, 50)
    matrix = similarity(0, 1.0, 1000, -1000)
    assert not resample(picture, matrix, 16).any()
    far = resample(picture, matrix, 16, reflect=True).astype(int)
    assert np.abs(far - far[0, 0]).max() == 0 and far.max() > 0


def test_warp_agrees_with_scipy_for_each_picture_of_a_batch() -> None:
    random = np.random.default_rng(3)
    images = random.uniform(0, 1, (2, 3, 40, 60)).astype(np.float32)
    matrices = np.stack([similarity(0.5, 1.2, 10, 3), similarity(-0.2, 0.7, 5, 9)])
    warped = warp(torch.from_numpy(images), torch.from_numpy(matrices), 24).numpy()
    y, x = np.mgrid[:24, :24] + 0.5
    for image, matrix, result in zip(images, matrices, warped, strict=True):
        at = apply(matrix, np.stack([x.ravel(), y.ravel()], 1)) - 0.5
        inside = ((at > 0) & (at < [59, 39])).all(1)
        assert inside.sum() > 200
        for channel in range(3):
            expected = ndimage.map_coordinates(image[channel], at[:, ::-1].T, order=1)
            assert np.allclose(result[channel].ravel()[inside], expected[inside], atol=1e-4)


def test_warp_is_zero_outside() -> None:
    warped = warp(torch.ones(1, 1, 10, 10), torch.from_numpy(similarity(0, 1.0, -20, -20))[None], 24)[0, 0]
    assert not warped[:19].any() and bool((warped[21:, 21:] == 1).all())


def test_warping_there_and_back_restores_the_picture() -> None:
    picture = torch.from_numpy(smooth_picture(128, 128)).permute(2, 0, 1)[None].float() / 255
    matrix = similarity(0.3, 0.5, 40, 30)
    there = warp(picture, torch.from_numpy(matrix)[None], 256)
    back = warp(there, torch.from_numpy(invert_matrix(matrix))[None], 128)
    seen = warp(torch.ones_like(picture), torch.from_numpy(matrix)[None], 256)
    covered = warp(seen, torch.from_numpy(invert_matrix(matrix))[None], 128) > 0.999
    assert covered.float().mean() > 0.3
    assert float(((back - picture).abs() * covered).max()) < 0.02


def test_supersampled_warping_is_antialiased() -> None:
    board = torch.from_numpy((np.indices((64, 64)).sum(0) % 2).astype(np.float32))[None, None]
    halved = warp_supersampled(board, torch.from_numpy(similarity(0, 2.0, 0, 0))[None], 32)
    assert torch.allclose(halved, torch.full_like(halved, 0.5), atol=1e-5)
