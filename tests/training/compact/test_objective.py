import pytest
import torch

from dda.models.compact.network import RESIDUAL_SCALE, CompactResidualModel
from dda.regions import REGIONS
from dda.training.compact.objective import (
    BOLD,
    CAST,
    IMPORTANCE,
    OUTSIDE,
    PURE_NOISE,
    RAW,
    SQUARED,
    _draw_timesteps,
    residual_loss,
)

SIZE = 32


@pytest.fixture
def model() -> CompactResidualModel:
    torch.manual_seed(0)
    return CompactResidualModel(styles=("A", "B"), crop_size=SIZE, channels=(16, 16), style_dim=4)


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Four faces: style A darkens, style B brightens, inside one half of the picture."""
    generator = torch.Generator().manual_seed(1)
    source = 0.3 + 0.4 * torch.rand(4, 3, SIZE, SIZE, generator=generator)
    masks = torch.zeros(4, len(REGIONS), SIZE, SIZE)
    masks[:, 2, :, SIZE // 2 :] = 1
    style_ids = torch.tensor([0, 1, 0, 1])[:, None].expand(-1, len(REGIONS))
    sign = torch.tensor([-1.0, 1.0, -1.0, 1.0])[:, None, None, None]
    return source, source + 0.2 * sign * masks[:, 2:3], masks, style_ids


def loss_of(
    model: CompactResidualModel, batch: tuple[torch.Tensor, ...], seed: int = 0, bf16: bool = False
) -> torch.Tensor:
    return residual_loss(model, *batch, torch.Generator().manual_seed(seed), bf16)  # type: ignore[arg-type]


class _Knows(CompactResidualModel):
    """A network whose answer is given, so that the loss can be computed by hand."""

    answer: torch.Tensor

    def forward(self, noisy: torch.Tensor, *_: object) -> torch.Tensor:
        return self.answer.expand_as(noisy)


def test_the_right_answer_costs_nothing(batch: tuple[torch.Tensor, ...]) -> None:
    knows = _Knows(styles=("A", "B"), channels=(8, 8))
    knows.answer = (batch[1] - batch[0]) * RESIDUAL_SCALE
    assert loss_of(knows, batch).item() == pytest.approx(0, abs=1e-6)


def test_no_answer_costs_the_residual_composed_and_raw(batch: tuple[torch.Tensor, ...]) -> None:
    knows = _Knows(styles=("A", "B"), channels=(8, 8))
    knows.answer = torch.zeros(1)
    error = RESIDUAL_SCALE * 0.2
    # The residual lies in one half of the picture, all under a mask.
    composed = raw = (1 + BOLD * error) * (error + SQUARED * error**2) / 2
    assert loss_of(knows, batch).item() == pytest.approx(composed + RAW * raw, rel=1e-4)


def test_a_cast_costs_beside_the_error_itself(batch: tuple[torch.Tensor, ...]) -> None:
    knows = _Knows(styles=("A", "B"), channels=(8, 8))
    source, _, masks, ids = batch
    masks = torch.zeros_like(masks)
    masks[:, REGIONS.index("skin")] = 1
    knows.answer = torch.zeros(1)
    green = torch.tensor([0.0, 0.1, 0.0])[:, None, None]
    error = RESIDUAL_SCALE * 0.1
    one_channel = (error + SQUARED * error**2) / 3
    bold = 1 + BOLD * error / 3
    expected = bold * (1 + RAW + 2 * CAST) * one_channel  # green differs from red and from blue
    assert loss_of(knows, (source, source + green, masks, ids)).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("region", REGIONS)
def test_an_error_weighs_what_its_region_does(region: str, batch: tuple[torch.Tensor, ...]) -> None:
    knows = _Knows(styles=("A", "B"), channels=(8, 8))
    knows.answer = torch.zeros(1)
    source, target, masks, ids = batch
    moved = torch.zeros_like(masks)
    moved[:, REGIONS.index(region)] = masks.sum(1)
    error = RESIDUAL_SCALE * 0.2
    inside = IMPORTANCE[region] * (1 + BOLD * error) * (error + SQUARED * error**2) / 2
    assert loss_of(knows, (source, target, moved, ids)).item() == pytest.approx((1 + RAW) * inside, rel=1e-4)


def test_outside_the_masks_nothing_is_wanted(batch: tuple[torch.Tensor, ...]) -> None:
    """Whatever the retoucher did there."""
    knows = _Knows(styles=("A", "B"), channels=(8, 8))
    source, target, masks, ids = batch
    unmasked = (source, target, torch.zeros_like(masks), ids)
    knows.answer = torch.zeros(1)
    assert loss_of(knows, unmasked).item() == 0
    knows.answer = torch.tensor(0.4)
    assert loss_of(knows, unmasked).item() == pytest.approx(OUTSIDE * (0.4 + SQUARED * 0.4**2), rel=1e-4)


def test_the_gains_are_part_of_what_is_composed(batch: tuple[torch.Tensor, ...]) -> None:
    knows = _Knows(styles=("A", "B"), channels=(8, 8))
    knows.answer = (batch[1] - batch[0]) * RESIDUAL_SCALE
    with torch.no_grad():
        knows.alpha.mul_(0.5)
    half = 0.5 * RESIDUAL_SCALE * 0.2
    expected = (1 + BOLD * 2 * half) * (half + SQUARED * half**2) / 2
    assert loss_of(knows, batch).item() == pytest.approx(expected, rel=1e-4)


def test_the_generator_decides_noise_and_timesteps(
    model: CompactResidualModel, batch: tuple[torch.Tensor, ...]
) -> None:
    torch.manual_seed(0)
    first = loss_of(model, batch)
    torch.manual_seed(1)
    assert torch.equal(loss_of(model, batch), first)
    assert not torch.equal(loss_of(model, batch, seed=1), first)


def test_every_parameter_learns(model: CompactResidualModel, batch: tuple[torch.Tensor, ...]) -> None:
    loss_of(model, batch).backward()
    idle = [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    unseen = {f"fgmm.weights.{region}_weight" for region in ("eyes", "lips", "brows")}  # all masks but skin's are 0
    assert set(idle) == unseen


def test_training_on_a_batch_lowers_its_loss_and_tells_the_styles_apart(
    model: CompactResidualModel, batch: tuple[torch.Tensor, ...]
) -> None:
    before = loss_of(model, batch).item()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for step in range(60):
        optimizer.zero_grad()
        loss_of(model, batch, seed=step).backward()
        optimizer.step()
    assert loss_of(model, batch).item() < 0.5 * before
    source, _, masks, ids = batch
    noise = torch.randn(4, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        painted = model(noise, 999, source, masks, ids)[..., SIZE // 2 :].mean((1, 2, 3))
    assert bool((painted[[0, 2]] < 0).all()) and bool((painted[[1, 3]] > 0).all())


def test_bfloat16_is_about_the_same(model: CompactResidualModel, batch: tuple[torch.Tensor, ...]) -> None:
    full, short = loss_of(model, batch), loss_of(model, batch, bf16=True)
    assert short.dtype == torch.float32 and not torch.equal(full, short)
    assert short.item() == pytest.approx(full.item(), rel=0.02)


def test_half_of_the_timesteps_are_the_last_and_the_others_anywhere() -> None:
    drawn = _draw_timesteps(4000, 1000, torch.Generator().manual_seed(0))
    assert int(drawn.min()) >= 0 and int(drawn.max()) == 999
    assert float((drawn == 999).float().mean()) == pytest.approx(PURE_NOISE, abs=0.03)
    others = drawn[drawn != 999].float()
    assert float(others.mean()) == pytest.approx(499, abs=25)
