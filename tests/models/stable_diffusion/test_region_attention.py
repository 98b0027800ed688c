import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0

from dda.models.stable_diffusion.region_attention import RegionAttention, RegionConditions, gate_by_region

SIDE = 16


@pytest.fixture
def attention() -> Attention:
    """Cross attention of 12 features to tokens of 8."""
    torch.manual_seed(0)
    return Attention(12, cross_attention_dim=8, heads=3, dim_head=4, processor=RegionAttention()).requires_grad_(False)


@pytest.fixture
def unet() -> UNet2DConditionModel:
    """Cross attention on grids of 16, 8 and 4."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=SIDE,
        block_out_channels=(8, 8, 8),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=8,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    return unet.eval().requires_grad_(False)


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tokens(seed: int, rows: int = 2) -> torch.Tensor:
    return draw(rows, 5, 8, seed=seed)


def left_half(rows: int = 2) -> torch.Tensor:
    gates = torch.zeros(rows, 1, SIDE, SIDE)
    gates[..., : SIDE // 2] = 1
    return gates


def plain(attention: Attention, features: torch.Tensor, worn: torch.Tensor) -> torch.Tensor:
    """diffusers' own attention."""
    return AttnProcessor2_0()(attention, features, worn)


# --- One layer ------------------------------------------------------------------------------------------


def test_each_position_attends_to_the_conditions_of_its_regions(attention: Attention) -> None:
    features, gates = draw(2, 64, 12, seed=1), torch.rand(2, 2, SIDE, SIDE, generator=torch.manual_seed(2)) / 2
    made = attention(features, tokens(3), regions=RegionConditions([tokens(4), tokens(5)], gates))
    bare, first, second = (plain(attention, features, tokens(seed)) for seed in (3, 4, 5))
    on_grid = gates.unflatten(3, (8, 2)).unflatten(2, (8, 2)).mean((3, 5)).flatten(2)[..., None]  # area averages
    expected = (1 - on_grid.sum(1)) * bare + on_grid[:, 0] * first + on_grid[:, 1] * second
    assert torch.allclose(made, expected, atol=1e-6)


def test_the_two_sides_of_a_hard_border(attention: Attention) -> None:
    features = draw(2, SIDE * SIDE, 12, seed=1)
    made = attention(features, tokens(3), regions=RegionConditions([tokens(4)], left_half()))
    grid = made.unflatten(1, (SIDE, SIDE))
    bare, styled = (plain(attention, features, tokens(seed)).unflatten(1, (SIDE, SIDE)) for seed in (3, 4))
    assert torch.equal(grid[:, :, SIDE // 2 :], bare[:, :, SIDE // 2 :])
    assert torch.allclose(grid[:, :, : SIDE // 2], styled[:, :, : SIDE // 2], atol=1e-6)


def test_the_bare_condition_may_have_another_length(attention: Attention) -> None:
    features, bare = draw(2, 64, 12, seed=1), draw(2, 9, 8, seed=3)
    made = attention(features, bare, regions=RegionConditions([tokens(4)], torch.ones(2, 1, SIDE, SIDE)))
    assert torch.allclose(made, plain(attention, features, tokens(4)), atol=1e-6)


def test_gates_follow_a_picture_that_is_not_square() -> None:
    gates = torch.zeros(1, 1, 8, 16)
    gates[..., :4] = 1
    on_grid = RegionConditions([tokens(1)], gates).gates_at(4 * 8)
    assert on_grid.shape == (1, 1, 1, 32, 1)
    assert on_grid.view(4, 8).tolist() == [[1.0, 1.0, 0, 0, 0, 0, 0, 0]] * 4


# --- The whole U-Net ------------------------------------------------------------------------------------


def predict(unet: UNet2DConditionModel, regions: RegionConditions | None, rows: int = 2) -> torch.Tensor:
    sample = draw(rows, 4, SIDE, SIDE, seed=1)
    return unet(sample, 500, tokens(3, rows), cross_attention_kwargs={"regions": regions}).sample


def test_without_regions_the_unet_is_the_same(unet: UNet2DConditionModel) -> None:
    before = unet(draw(2, 4, SIDE, SIDE, seed=1), 500, tokens(3)).sample
    gate_by_region(unet)
    assert torch.allclose(predict(unet, None), before, atol=1e-6)


def test_conditions_equal_to_the_bare_one_change_no_bit(unet: UNet2DConditionModel) -> None:
    gate_by_region(unet)
    gates = torch.rand(2, 2, SIDE, SIDE, generator=torch.manual_seed(2)) / 2
    assert torch.equal(predict(unet, RegionConditions([tokens(3)] * 2, gates)), predict(unet, None))


def test_a_condition_with_no_place_changes_no_bit(unet: UNet2DConditionModel) -> None:
    gate_by_region(unet)
    alone = predict(unet, RegionConditions([tokens(4)], left_half()))
    filled = RegionConditions([tokens(4), tokens(5)], torch.cat([left_half(), torch.zeros_like(left_half())], dim=1))
    assert torch.equal(predict(unet, filled), alone)
    assert not torch.equal(alone, predict(unet, None))


def test_one_condition_everywhere_is_that_condition(unet: UNet2DConditionModel) -> None:
    gate_by_region(unet)
    everywhere = RegionConditions([tokens(4)], torch.ones(2, 1, SIDE, SIDE))
    plainly = unet(draw(2, 4, SIDE, SIDE, seed=1), 500, tokens(4)).sample
    assert torch.allclose(predict(unet, everywhere), plainly, atol=1e-5)
