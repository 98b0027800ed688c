import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention, AttnProcessor2_0

from dda.models.stable_diffusion.region_attention import RegionAttnProcessor, RegionConditions, set_region_attention

SIZE = 16


@pytest.fixture
def attention() -> Attention:
    """Cross-attention of 12 features to embeddings of 8."""
    torch.manual_seed(0)
    return Attention(12, cross_attention_dim=8, heads=3, dim_head=4, processor=RegionAttnProcessor()).requires_grad_(
        False
    )


@pytest.fixture
def unet() -> UNet2DConditionModel:
    """A U-Net with cross-attention on grids of 16, 8 and 4."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=SIZE,
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


def embeds(seed: int, rows: int = 2) -> torch.Tensor:
    return draw(rows, 5, 8, seed=seed)


def left_half(rows: int = 2) -> torch.Tensor:
    masks = torch.zeros(rows, 1, SIZE, SIZE)
    masks[..., : SIZE // 2] = 1
    return masks


def plain(attention: Attention, features: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
    """diffusers' own attention."""
    return AttnProcessor2_0()(attention, features, condition)


# --- One layer ------------------------------------------------------------------------------------------


def test_each_position_attends_to_the_conditions_of_its_regions(attention: Attention) -> None:
    features, masks = draw(2, 64, 12, seed=1), torch.rand(2, 2, SIZE, SIZE, generator=torch.manual_seed(2)) / 2
    attended = attention(features, embeds(3), regions=RegionConditions([embeds(4), embeds(5)], masks))
    bare, first, second = (plain(attention, features, embeds(seed)) for seed in (3, 4, 5))
    on_grid = masks.unflatten(3, (8, 2)).unflatten(2, (8, 2)).mean((3, 5)).flatten(2)[..., None]  # area averages
    expected = (1 - on_grid.sum(1)) * bare + on_grid[:, 0] * first + on_grid[:, 1] * second
    assert torch.allclose(attended, expected, atol=1e-6)


def test_a_hard_border_between_two_conditions(attention: Attention) -> None:
    features = draw(2, SIZE * SIZE, 12, seed=1)
    attended = attention(features, embeds(3), regions=RegionConditions([embeds(4)], left_half()))
    grid = attended.unflatten(1, (SIZE, SIZE))
    bare, styled = (plain(attention, features, embeds(seed)).unflatten(1, (SIZE, SIZE)) for seed in (3, 4))
    assert torch.equal(grid[:, :, SIZE // 2 :], bare[:, :, SIZE // 2 :])
    assert torch.allclose(grid[:, :, : SIZE // 2], styled[:, :, : SIZE // 2], atol=1e-6)


def test_the_bare_condition_may_have_another_length(attention: Attention) -> None:
    features, bare = draw(2, 64, 12, seed=1), draw(2, 9, 8, seed=3)
    attended = attention(features, bare, regions=RegionConditions([embeds(4)], torch.ones(2, 1, SIZE, SIZE)))
    assert torch.allclose(attended, plain(attention, features, embeds(4)), atol=1e-6)


def test_masks_of_a_picture_that_is_not_square() -> None:
    masks = torch.zeros(1, 1, 8, 16)
    masks[..., :4] = 1
    on_grid = RegionConditions([embeds(1)], masks).downsample_masks(4 * 8)
    assert on_grid.shape == (1, 1, 1, 32, 1)
    assert on_grid.view(4, 8).tolist() == [[1.0, 1.0, 0, 0, 0, 0, 0, 0]] * 4


# --- The whole U-Net ------------------------------------------------------------------------------------


def predict(unet: UNet2DConditionModel, regions: RegionConditions | None, rows: int = 2) -> torch.Tensor:
    sample = draw(rows, 4, SIZE, SIZE, seed=1)
    return unet(sample, 500, embeds(3, rows), cross_attention_kwargs={"regions": regions}).sample


def test_without_regions_the_u_net_is_the_same(unet: UNet2DConditionModel) -> None:
    before = unet(draw(2, 4, SIZE, SIZE, seed=1), 500, embeds(3)).sample
    set_region_attention(unet)
    assert torch.allclose(predict(unet, None), before, atol=1e-6)


def test_conditions_equal_to_the_bare_one_change_no_bit(unet: UNet2DConditionModel) -> None:
    set_region_attention(unet)
    masks = torch.rand(2, 2, SIZE, SIZE, generator=torch.manual_seed(2)) / 2
    assert torch.equal(predict(unet, RegionConditions([embeds(3)] * 2, masks)), predict(unet, None))


def test_a_condition_with_an_empty_mask_changes_no_bit(unet: UNet2DConditionModel) -> None:
    set_region_attention(unet)
    alone = predict(unet, RegionConditions([embeds(4)], left_half()))
    padded = RegionConditions([embeds(4), embeds(5)], torch.cat([left_half(), torch.zeros_like(left_half())], dim=1))
    assert torch.equal(predict(unet, padded), alone)
    assert not torch.equal(alone, predict(unet, None))


def test_one_condition_everywhere_is_that_condition(unet: UNet2DConditionModel) -> None:
    set_region_attention(unet)
    everywhere = RegionConditions([embeds(4)], torch.ones(2, 1, SIZE, SIZE))
    expected = unet(draw(2, 4, SIZE, SIZE, seed=1), 500, embeds(4)).sample
    assert torch.allclose(predict(unet, everywhere), expected, atol=1e-5)
