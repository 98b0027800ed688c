from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn

from dda.models.stable_diffusion.checkpoints import apply_checkpoint
from tests.models.stable_diffusion.checkpoints.tiny import (
    State,
    are_same,
    layer_keys,
    legacy_lora,
    make_unet,
    merge_by_hand,
)

ATTENTION = "down_blocks.0.attentions.0.transformer_blocks.0.attn1"


class ResidualDiffusionModel(nn.Module):
    """The seed's wrapper of the U-Net, for its state dict."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet
        self.alpha = nn.Parameter(torch.tensor(0.75))


@pytest.fixture
def content() -> dict[str, Any]:
    """Content of the file that the seed's training saves at the end."""
    unet = make_unet(seed=7)
    weights = {"eyes_weight": 1.5, "lips_weight": 0.5, "skin_weight": 1.25}
    return {
        "rdm_state_dict": dict(ResidualDiffusionModel(unet).state_dict()),
        "fgmm_state_dict": {name: torch.tensor(weight) for name, weight in weights.items()},
        "unet_state_dict": dict(unet.state_dict()),
        "epoch": 500,
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "dda_final.pt"


def test_the_u_net_alpha_and_region_weights(content: dict[str, Any], unet: UNet2DConditionModel, file: Path) -> None:
    torch.save(content, file)
    applied = apply_checkpoint(file, unet)
    assert are_same(unet.state_dict(), make_unet(seed=7).state_dict())
    assert applied.summary.startswith("seed format: ") and applied.alpha == 0.75 and applied.image_projection is None
    assert applied.region_weights.tolist() == [1.5, 0.5, 1.25, 1.25]
    assert (
        "rdm_state_dict agrees" in applied.summary
        and "ignored epoch" in applied.summary
        and "\n" not in applied.summary
    )
    assert "alpha 0.75; region weights eyes 1.5, lips 0.5, skin 1.25, brows 1.25 (skin's)" in applied.summary


def test_a_weight_for_brows_is_read(content: dict[str, Any], unet: UNet2DConditionModel, file: Path) -> None:
    content["fgmm_state_dict"]["brows_weight"] = torch.tensor([2.0])
    torch.save(content, file)
    assert apply_checkpoint(file, unet).region_weights.tolist() == [1.5, 0.5, 1.25, 2]


@pytest.mark.parametrize("rename", [dict, layer_keys], ids=["processor", "layer"])
def test_lora_in_the_u_net_is_merged(
    rename: Callable[[State], State], content: dict[str, Any], unet: UNet2DConditionModel, file: Path
) -> None:
    seed_unet = make_unet(seed=7)
    lora = legacy_lora(seed_unet)
    content["unet_state_dict"] |= rename(lora)
    content["rdm_state_dict"] |= {f"unet.{key}": tensor for key, tensor in rename(lora).items()}
    torch.save(content, file)
    applied = apply_checkpoint(file, unet)
    assert are_same(unet.state_dict(), merge_by_hand(seed_unet, lora), 1e-6)
    assert "LoRA layers (legacy keys) of rank 4" in applied.summary and "rdm_state_dict agrees" in applied.summary


def test_unet_state_dict_is_preferred_to_the_copy_and_the_log_says_so(
    content: dict[str, Any], unet: UNet2DConditionModel, file: Path
) -> None:
    content["rdm_state_dict"]["unet.conv_in.bias"] = content["rdm_state_dict"]["unet.conv_in.bias"] + 1
    torch.save(content, file)
    applied = apply_checkpoint(file, unet)
    assert are_same(unet.state_dict(), make_unet(seed=7).state_dict())
    assert "rdm_state_dict differs in 1 tensors (conv_in.bias): unet_state_dict wins" in applied.summary


def test_a_file_of_an_unfinished_training(content: dict[str, Any], unet: UNet2DConditionModel, file: Path) -> None:
    parameter = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([parameter])
    parameter.sum().backward()
    optimizer.step()
    torch.save(content | {"optimizer_state_dict": optimizer.state_dict()}, file)
    assert "ignored epoch, optimizer_state_dict" in apply_checkpoint(file, unet).summary


def remove(part: str, key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content[part].pop(key)


def set_value(part: str, key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content[part].__setitem__(key, value)


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no rdm": (lambda content: content.pop("rdm_state_dict"), "no rdm_state_dict"),
    "no fgmm": (lambda content: content.pop("fgmm_state_dict"), "no fgmm_state_dict"),
    "no unet": (lambda content: content.pop("unet_state_dict"), "no unet_state_dict"),
    "no alpha": (remove("rdm_state_dict", "alpha"), "lacks rdm_state_dict.alpha"),
    "no lips": (remove("fgmm_state_dict", "lips_weight"), "lacks fgmm_state_dict.lips_weight"),
    "no layer": (remove("unet_state_dict", "conv_out.bias"), "lacks unet_state_dict.conv_out.bias"),
    "unknown layer": (set_value("unet_state_dict", "conv_out.gain", torch.ones(4)), "conv_out.gain"),
    "another shape": (set_value("unet_state_dict", "conv_in.weight", torch.ones(32, 9, 3, 3)), "(32, 9, 3, 3)"),
    "not a number": (set_value("unet_state_dict", "conv_in.bias", torch.full((32,), torch.nan)), "conv_in.bias"),
    "infinite alpha": (set_value("rdm_state_dict", "alpha", torch.tensor(torch.inf)), "alpha with values that are not"),
    "alpha as a list": (set_value("rdm_state_dict", "alpha", torch.ones(2)), "one number"),
    "alpha as text": (set_value("rdm_state_dict", "alpha", "0.5"), "str"),
    "nan eyes": (set_value("fgmm_state_dict", "eyes_weight", torch.tensor(torch.nan)), "eyes_weight"),
    "a list": (lambda content: content.__setitem__("unet_state_dict", [1, 2]), "unet_state_dict as list"),
    "broken lora": (
        set_value("unet_state_dict", f"{ATTENTION}.processor.to_q_lora.up.weight", torch.ones(32, 4)),
        "lacks the LoRA down.weight",
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_content_that_does_not_fit_is_refused(
    change: str, content: dict[str, Any], refusal: Callable[[Path], str], file: Path
) -> None:
    change_content, reason = CHANGES[change]
    change_content(content)
    torch.save(content, file)
    message = refusal(file)
    assert "dda_final.pt" in message and reason in message


def test_a_u_net_of_another_model_is_refused(
    content: dict[str, Any], refusal: Callable[[Path], str], file: Path
) -> None:
    content["unet_state_dict"] = dict(make_unet(width=48).state_dict())
    torch.save(content, file)
    assert "another model" in refusal(file)
