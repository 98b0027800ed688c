import numpy as np
import pytest
import torch
from skimage.color import deltaE_ciede2000, rgb2lab

from dda.metrics.color import ciede2000, compute_region_change, srgb_to_lab
from dda.metrics.metric import PairBatch


@pytest.fixture
def colors() -> tuple[torch.Tensor, torch.Tensor]:
    """Two pictures of all kinds of colors: black, white, grays, primaries, pairs far apart in hue, noise."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.rand(2, 2, 3, 64, 64, generator=generator)
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 0.5, 1.0])] * 3).T  # (3, 27)
    a[0, :, :27, 0] = corners
    b[0, :, :27, 0] = corners.flip(1)
    a[1, :, 1], b[1, :, 1] = 0.3, a[1, :, 1]  # gray against color
    return a, b


def channels_last(pictures: torch.Tensor) -> np.ndarray:
    return pictures.movedim(1, -1).double().numpy()


def test_lab_agrees_with_scikit_image(colors: tuple[torch.Tensor, torch.Tensor]) -> None:
    expected = rgb2lab(channels_last(colors[0]))
    assert np.abs(channels_last(srgb_to_lab(colors[0])) - expected).max() < 2e-3


def test_ciede2000_agrees_with_scikit_image(colors: tuple[torch.Tensor, torch.Tensor]) -> None:
    a, b = map(srgb_to_lab, colors)
    expected = deltaE_ciede2000(channels_last(a), channels_last(b))
    assert expected.max() > 80
    assert np.abs(ciede2000(a, b)[:, 0].numpy() - expected).max() < 5e-3


def test_published_pairs() -> None:
    """Of the test data of Sharma, Wu and Dalal (2005): small blue differences, hues on both sides of 0, neutrals."""
    table = torch.tensor([
        [50.0, 2.6772, -79.7751, 50.0, 0.0, -82.7485, 2.0425],
        [50.0, 2.49, -0.001, 50.0, -2.49, 0.0011, 7.2195],
        [50.0, 0.0, 0.0, 50.0, -1.0, 2.0, 2.3669],
        [50.0, 2.5, 0.0, 73.0, 25.0, -18.0, 27.1492],
        [22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373],
        [2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082],
    ])  # fmt: skip
    a, b = table[:, :3, None, None], table[:, 3:6, None, None]
    assert ciede2000(a, b).flatten().tolist() == pytest.approx(table[:, 6].tolist(), abs=1e-3)
    assert torch.equal(ciede2000(a, a), torch.zeros(len(table), 1, 1, 1))


def test_region_change_is_the_mean_under_each_mask(glamorous: PairBatch) -> None:
    found = compute_region_change(glamorous)
    assert found.shape == (2, 4, 3)
    difference = channels_last(srgb_to_lab(glamorous.target) - srgb_to_lab(glamorous.source))
    lips = glamorous.masks[:, 1].double().numpy()
    for n in range(2):
        expected = (difference[n] * lips[n, ..., None]).sum((0, 1)) / lips[n].sum()
        assert found[n, 1].tolist() == pytest.approx(expected.tolist(), abs=1e-3)
    assert (found[:, 1, 1] > 5).all()  # lips turned redder
