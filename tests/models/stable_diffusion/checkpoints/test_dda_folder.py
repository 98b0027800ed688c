import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from dda.models.stable_diffusion.checkpoints import apply_checkpoint
from tests.models.stable_diffusion.checkpoints.tiny import make_unet, output

CONFIG = {
    "format": "dda-sd15",
    "version": 1,
    "alpha": 0.6,
    "region_weights": {"eyes": 1.1, "lips": 0.9, "skin": 1, "brows": 0.8},
    "styles": ["Red lip makeup", "은은한"],
    "prompt": "a photo of a face with {style}",
    "bare_prompt": "",
    "base": "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "rank": 4,
    "strength": 0.5,
}


@pytest.fixture
def unet_with_lora() -> UNet2DConditionModel:
    unet = make_unet()
    unet.add_adapter(
        LoraConfig(r=4, lora_alpha=8, target_modules=["to_q", "to_k", "to_v", "to_out.0"], init_lora_weights=False)
    )
    return unet


@pytest.fixture
def folder(unet_with_lora: UNet2DConditionModel, tmp_path: Path) -> Path:
    StableDiffusionPipeline.save_lora_weights(
        tmp_path / "checkpoint",
        unet_lora_layers=get_peft_model_state_dict(unet_with_lora),
        unet_lora_adapter_metadata=unet_with_lora.peft_config["default"].to_dict(),
    )
    (tmp_path / "checkpoint" / "README.md").write_text("# A model card")
    write(tmp_path / "checkpoint", CONFIG)
    return tmp_path / "checkpoint"


def write(folder: Path, config: Any) -> None:
    (folder / "dda.json").write_text(json.dumps(config, ensure_ascii=False), encoding="utf-8")


def test_the_lora_and_the_values_of_the_json(
    folder: Path, unet_with_lora: UNet2DConditionModel, unet: UNet2DConditionModel
) -> None:
    applied = apply_checkpoint(folder, unet)
    assert torch.allclose(output(unet), output(unet_with_lora), atol=2e-5)
    assert applied.summary.startswith("dda-sd15: ") and applied.alpha == 0.6
    assert torch.equal(applied.region_weights, torch.tensor([1.1, 0.9, 1.0, 0.8]))
    assert (applied.prompt, applied.bare_prompt) == (CONFIG["prompt"], "")
    assert (applied.base, applied.strength) == (CONFIG["base"], 0.5)
    assert "alpha 0.6; region weights eyes 1.1, lips 0.9, skin 1, brows 0.8" in applied.summary
    assert "2 styles" in applied.summary and "\n" not in applied.summary


@pytest.mark.parametrize(
    "values, reason",
    [
        ({"format": "dda-sd21"}, '"format": "dda-sd15"'),
        ({"version": 2}, "version 2"),
        ({"alpha": None}, "alpha=None"),
        ({"alpha": float("nan")}, "alpha=nan"),
        ({"alpha": True}, "alpha=True"),
        ({"strength": None}, "strength=None"),
        ({"strength": "0.5"}, "strength=0.5"),
        ({"region_weights": [1, 1, 1, 1]}, "region_weights"),
        ({"region_weights": {"eyes": 1, "lips": 1, "skin": 1}}, "region_weights.brows=None"),
        ({"styles": []}, "styles=[]"),
        ({"styles": "red"}, "styles=red"),
        ({"prompt": None}, "prompt=None"),
    ],
)
def test_a_json_of_another_format_is_refused(
    values: dict[str, Any], reason: str, folder: Path, refusal: Callable[[Path], str]
) -> None:
    write(folder, CONFIG | values)
    message = refusal(folder)
    assert "dda.json" in message and reason in message


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe"])
def test_a_file_that_is_not_json_is_refused(text: bytes, folder: Path, refusal: Callable[[Path], str]) -> None:
    (folder / "dda.json").write_bytes(text)
    assert "dda.json" in refusal(folder)


def test_a_folder_without_weights_is_refused(folder: Path, refusal: Callable[[Path], str]) -> None:
    (folder / "pytorch_lora_weights.safetensors").unlink()
    assert "pytorch_lora_weights.safetensors is not there" in refusal(folder)
