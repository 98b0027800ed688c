from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn

from dda.models.stable_diffusion.checkpoints import apply_checkpoint
from tests.models.stable_diffusion.checkpoints.tiny import State, are_same, merge_by_hand


@pytest.fixture
def projection() -> State:
    """State dict of the release's `proj.pth`: three embeddings of length 32 a picture, from CLIP embeddings of 16."""
    torch.manual_seed(4)
    model = nn.ModuleDict({"proj": nn.Linear(16, 3 * 32), "norm": nn.LayerNorm(32)})
    return dict(model.state_dict())


@pytest.fixture
def folder(lora: State, projection: State, tmp_path: Path) -> Path:
    save_file(lora, tmp_path / "pytorch_lora_weights.safetensors")
    torch.save(projection, tmp_path / "proj.pth")
    return tmp_path


def test_the_lora_is_merged_and_the_projection_is_read(
    folder: Path, projection: State, lora: State, unet: UNet2DConditionModel
) -> None:
    expected = merge_by_hand(unet, lora)
    applied = apply_checkpoint(folder, unet)
    assert are_same(unet.state_dict(), expected, 1e-6)
    assert applied.image_projection is not None and are_same(applied.image_projection.state_dict(), projection)
    assert applied.summary.startswith("official release: ") and applied.alpha == 0.5
    assert "3 image tokens a picture" in applied.summary and "no alpha and region weights" in applied.summary
    embeds = torch.cat(
        [applied.image_projection(torch.ones(2, 16)), applied.image_projection(torch.zeros(2, 16))], dim=1
    )
    assert unet(torch.zeros(2, 4, 8, 8), torch.tensor(5), embeds).sample.shape == (2, 4, 8, 8)


def test_a_pickled_lora_is_merged(folder: Path, lora: State, unet: UNet2DConditionModel) -> None:
    (folder / "pytorch_lora_weights.safetensors").unlink()
    torch.save(lora, folder / "pytorch_lora_weights.bin")
    expected = merge_by_hand(unet, lora)
    apply_checkpoint(folder, unet)
    assert are_same(unet.state_dict(), expected, 1e-6)


def test_a_folder_without_lora_is_refused(folder: Path, refusal: Callable[[Path], str]) -> None:
    (folder / "pytorch_lora_weights.safetensors").unlink()
    assert "pytorch_lora_weights.safetensors is not there" in refusal(folder)


@pytest.mark.parametrize(
    "values, reason",
    [
        ({"proj.0.weight": torch.ones(3)}, "holds proj.0.weight"),
        ({"norm.bias": torch.ones(7)}, "norm.bias of shape (7,)"),
        ({"norm.weight": torch.ones(768)}, "another model"),
        ({"proj.weight": torch.ones(97, 16)}, "proj.weight of shape (97, 16)"),
        ({"proj.weight": torch.ones(96)}, "proj.weight of shape (96,)"),
        ({"proj.bias": torch.full((96,), torch.nan)}, "not finite"),
        ({"proj.bias": "text"}, "str"),
    ],
)
def test_a_projection_that_does_not_fit_is_refused(
    values: State, reason: str, folder: Path, projection: State, refusal: Callable[[Path], str]
) -> None:
    torch.save(projection | values, folder / "proj.pth")
    message = refusal(folder)
    assert "proj.pth" in message and reason in message


def test_an_incomplete_projection_is_refused(folder: Path, projection: State, refusal: Callable[[Path], str]) -> None:
    del projection["norm.bias"]
    torch.save(projection, folder / "proj.pth")
    assert "proj.pth lacks norm.bias" in refusal(folder)
