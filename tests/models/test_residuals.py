import pytest
import torch

from dda.models.residuals import Residuals, compose
from dda.regions import REGIONS

COUNT, SIZE = 2, 16


@pytest.fixture
def parts() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Source far from 0 and 1, soft masks that sum to less than 1 and are 0 on the left half, residual, R_d."""
    generator = torch.Generator().manual_seed(0)
    source = 0.4 + 0.2 * torch.rand(COUNT, 3, SIZE, SIZE, generator=generator)
    masks = torch.rand(COUNT, 4, SIZE, SIZE, generator=generator) / 4
    masks[..., : SIZE // 2] = 0
    makeup = 0.1 * torch.randn(COUNT, 3, SIZE, SIZE, generator=generator)
    detail = 0.1 * torch.randn(COUNT, 3, SIZE, SIZE, generator=generator)
    return source, masks, makeup, detail


def gains(*values: float) -> torch.Tensor:
    return torch.tensor([values] * COUNT, dtype=torch.float32)


def test_the_target_is_the_formula_at_every_pixel(parts: tuple[torch.Tensor, ...]) -> None:
    source, masks, makeup, detail = parts
    k = torch.tensor([[1.0, 0.5, 2.0, 0.0], [0.3, 1.5, 0.7, 3.0]])
    y = compose(source, masks, Residuals(makeup, detail), k, detail_kept=0.8)
    for n, c, i, j in [(0, 0, 3, 12), (0, 2, 15, 15), (1, 1, 0, 8), (1, 0, 9, 2)]:
        expected = source[n, c, i, j] + sum(
            masks[n, r, i, j] * (k[n, r] * makeup[n, c, i, j] - (1 - 0.8) * detail[n, c, i, j]) for r in range(4)
        )
        assert float(y[n, c, i, j]) == pytest.approx(float(expected.clamp(0, 1)), abs=1e-6)


def test_zero_strength_and_all_detail_give_the_source_bit_for_bit(parts: tuple[torch.Tensor, ...]) -> None:
    source, masks, makeup, detail = parts
    assert torch.equal(compose(source, masks, Residuals(makeup, detail), gains(0, 0, 0, 0), detail_kept=1.0), source)


def test_a_residual_of_0_gives_the_source_bit_for_bit(parts: tuple[torch.Tensor, ...]) -> None:
    source, masks, makeup, _ = parts
    assert torch.equal(compose(source, masks, Residuals(torch.zeros_like(makeup)), gains(1, 2, 3, 4)), source)


def test_outside_the_masks_the_target_is_the_source_for_any_residual(parts: tuple[torch.Tensor, ...]) -> None:
    source, masks, makeup, detail = parts
    y = compose(source, masks, Residuals(makeup * 1e6, detail * 1e6), gains(1, 1, 1, 1) * 1e3, detail_kept=0.0)
    outside = (masks.sum(1, keepdim=True) == 0).expand_as(y)
    assert torch.equal(y[outside], source[outside])
    assert not torch.equal(y[~outside], source[~outside])


@pytest.mark.parametrize("region", range(len(REGIONS)), ids=REGIONS)
def test_the_target_is_affine_in_every_gain_before_the_clip(region: int, parts: tuple[torch.Tensor, ...]) -> None:
    source, masks, makeup, detail = parts

    def painted(value: float) -> torch.Tensor:
        k = gains(0.9, 0.2, 0.6, 0.4)
        k[:, region] = value
        y = compose(source, masks, Residuals(makeup, detail), k, detail_kept=0.5)
        assert y.min() > 0 and y.max() < 1  # nothing is clipped
        return y

    zero, one = painted(0.0), painted(1.0)
    slope = one - zero
    assert torch.allclose(slope, masks[:, region, None] * makeup, atol=1e-6)
    for value in (0.25, 1.7, -0.5):
        assert torch.allclose(painted(value), zero + value * slope, atol=1e-6)


def test_the_target_is_clipped_to_0_and_1(parts: tuple[torch.Tensor, ...]) -> None:
    source, masks, makeup, _ = parts
    y = compose(source, masks, Residuals(makeup * 100), gains(1, 1, 1, 1))
    assert float(y.min()) == 0.0 and float(y.max()) == 1.0


def test_detail_that_is_not_kept_is_subtracted_inside_the_masks(parts: tuple[torch.Tensor, ...]) -> None:
    source, masks, makeup, detail = parts
    kept = compose(source, masks, Residuals(makeup, detail), gains(1, 1, 1, 1), detail_kept=1.0)
    lost = compose(source, masks, Residuals(makeup, detail), gains(1, 1, 1, 1), detail_kept=0.0)
    assert torch.allclose(kept - lost, masks.sum(1, keepdim=True) * detail, atol=1e-6)
