import pytest
import torch

from dda.training.augmentation import ColorJitter


def make_jitter(gamma: float = 1.0, gain: float = 1.0, saturation: float = 1.0) -> ColorJitter:
    return ColorJitter(*(torch.full((1, 1, 1, 1), value) for value in (gamma, gain, saturation)))


@pytest.fixture
def picture() -> torch.Tensor:
    return torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.4 + 0.1


def test_factors_of_1_change_nothing(picture: torch.Tensor) -> None:
    assert torch.allclose(make_jitter().apply(picture), picture, atol=1e-6)


def test_jitter_is_gain_times_a_power_and_saturation(picture: torch.Tensor) -> None:
    lit = make_jitter(gamma=1.2, gain=0.9, saturation=0.8).apply(picture)
    expected = picture**1.2
    gray = expected.mean(1, keepdim=True)
    assert torch.allclose(lit, 0.9 * (gray + 0.8 * (expected - gray)), atol=1e-6)
    assert torch.allclose(
        make_jitter(saturation=0).apply(picture), picture.mean(1, keepdim=True).expand(-1, 3, -1, -1), atol=1e-6
    )


def test_a_grayscale_picture_may_have_a_color_cast(picture: torch.Tensor) -> None:
    gain = torch.tensor([1.1, 1.0, 0.9]).reshape(1, 3, 1, 1)
    jitter = make_jitter(saturation=0)
    lit = ColorJitter(jitter.gamma, gain, jitter.saturation).apply(picture)
    assert torch.allclose(lit, gain * picture.mean(1, keepdim=True), atol=1e-6)


def test_values_are_clipped(picture: torch.Tensor) -> None:
    assert torch.equal(make_jitter(gain=100).apply(picture), torch.ones_like(picture))
