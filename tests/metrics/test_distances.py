"""SSIM, PSNR and MS-SSIM beside other people's implementations."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from dda.metrics.metric import PairBatch
from dda.metrics.ms_ssim import MIN_SIDE_PX, MsSsim
from dda.metrics.psnr import Psnr, masked_psnr
from dda.metrics.ssim import Ssim
from dda.metrics.structure import Structure


@pytest.fixture(scope="module")
def noisy(glamorous: PairBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """The middle of the portraits, and the same painted and under noise."""
    a, b = (picture[..., 150:340, 160:340] for picture in (glamorous.source, glamorous.target))
    noise = 0.05 * torch.randn(b.shape, generator=torch.Generator().manual_seed(0))
    return a, (b + noise).clamp(0, 1)


def as_numpy(pictures: torch.Tensor) -> list[np.ndarray]:
    return [picture.permute(1, 2, 0).double().numpy() for picture in pictures]


def test_ssim_agrees_with_scikit_image(noisy: tuple[torch.Tensor, torch.Tensor]) -> None:
    expected = [
        structural_similarity(
            a, b, data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for a, b in zip(*map(as_numpy, noisy), strict=True)
    ]
    assert Ssim()(*noisy).tolist() == pytest.approx(expected, abs=1e-4)


def test_psnr_agrees_with_scikit_image(noisy: tuple[torch.Tensor, torch.Tensor]) -> None:
    expected = [peak_signal_noise_ratio(a, b, data_range=1) for a, b in zip(*map(as_numpy, noisy), strict=True)]
    assert Psnr()(*noisy).tolist() == pytest.approx(expected, abs=1e-4)


def test_equal_pictures(noisy: tuple[torch.Tensor, torch.Tensor]) -> None:
    a = noisy[0]
    assert Ssim()(a, a).tolist() == pytest.approx([1, 1])
    assert MsSsim()(a, a).tolist() == pytest.approx([1, 1])
    assert Structure()(a, a).tolist() == pytest.approx([1, 1])
    assert Psnr()(a, a).tolist() == [100, 100]


def test_ms_ssim_is_ssims_contrasts_over_five_halvings(noisy: tuple[torch.Tensor, torch.Tensor]) -> None:
    """Second implementation; as in torchmetrics, the last scale, of 11 pixels here, goes on mirrored past its edge."""
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    a, b = (picture[:1].double() for picture in noisy)
    line = torch.exp(-((torch.arange(11.0).double() - 5) ** 2) / (2 * 1.5**2))
    window = (line[:, None] * line / line.sum() ** 2).expand(3, 1, 11, 11)

    def local(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(x, window, groups=3)

    expected = 1.0
    for scale, weight in enumerate(weights):
        if scale == 4:
            a, b = (torch.nn.functional.pad(x, (5, 5, 5, 5), mode="reflect") for x in (a, b))
        mean_a, mean_b = local(a), local(b)
        variances = local(a * a) - mean_a**2 + local(b * b) - mean_b**2
        similar = (2 * (local(a * b) - mean_a * mean_b) + 0.03**2) / (variances + 0.03**2)
        if scale == 4:
            similar = similar * (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
        expected *= float(similar.mean()) ** weight
        a, b = (torch.nn.functional.avg_pool2d(x, 2) for x in (a, b))
    assert float(MsSsim()(*noisy)[0]) == pytest.approx(expected, abs=1e-4)


def test_a_picture_too_small_for_five_scales_has_no_ms_ssim() -> None:
    small, enough = torch.rand(1, 3, MIN_SIDE_PX - 1, 300), torch.rand(1, 3, MIN_SIDE_PX, 300)
    assert MsSsim()(small, small).isnan().all()
    assert float(MsSsim()(enough, enough)) == pytest.approx(1)


def test_masked_psnr_sees_only_what_lies_under_the_mask() -> None:
    a = torch.full((2, 3, 8, 8), 0.5)
    b = a.clone()
    b[..., :4] += 0.1
    b[..., 4:] += 0.3
    left = torch.zeros(2, 1, 8, 8)
    left[0, ..., :4] = 1  # the second mask is empty
    found = masked_psnr(a, b, left)
    assert float(found[0]) == pytest.approx(20, abs=1e-4)
    assert found[1].isnan()
    same = masked_psnr(a, a, left)
    assert float(same[0]) == 100 and same[1].isnan()


def test_one_gray_level_is_told_from_none() -> None:
    a = torch.full((1, 3, 64, 64), 0.5)
    b = a.clone()
    b[0, 1, 7, 7] += 1 / 255
    one = 10 * np.log10(255**2 * a.numel())
    assert float(Psnr()(a, b)) == pytest.approx(one, abs=1e-3) and one < Psnr.column.high
