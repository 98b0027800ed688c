import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from omegaconf import DictConfig
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from dda.faces.prepare import PreparedFace
from dda.images import to_tensor
from dda.mistakes import UserError
from dda.models.amplifier import known_styles, open_amplifier, pixel_settings
from dda.models.rdm import Residuals
from dda.png import encode_png
from dda.styles import REGIONS, Style
from tests.models.formats.tiny import legacy_lora
from tests.test_conf import load

CPU = torch.device("cpu")
RED = Style("Red lips", dict.fromkeys(REGIONS, "Red lips"), dict.fromkeys(REGIONS, 1.0))


def config(tiny_sd: Path, **changed: Any) -> DictConfig:
    """`cfg.model` of model=sd15 with the tiny base and two steps."""
    model = load("amplify", "model=sd15").model
    for key, value in {"pretrained": str(tiny_sd), "steps": 2, "strength": 0.5, **changed}.items():
        model[key] = value
    return model


def paint(model: DictConfig, face: PreparedFace) -> Residuals:
    amplifier = open_amplifier(model, CPU)
    source, masks = to_tensor(face.source)[None], torch.from_numpy(face.regions.masks)[None]
    noise = torch.randn(1, *amplifier.noise_shape, generator=torch.Generator().manual_seed(0))
    return amplifier.residuals(amplifier.share(source, masks, [face.regions.face], noise), [0], [RED])


@pytest.fixture(scope="module")
def lora(tiny_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lora")
    unet = UNet2DConditionModel.from_pretrained(tiny_sd / "unet")
    save_file(legacy_lora(unet), folder / "pytorch_lora_weights.safetensors")
    return folder


@pytest.fixture(scope="module")
def official(lora: Path) -> Path:
    """The lora's folder, made one of the official release: three tokens a picture, of embeddings of 16."""
    torch.manual_seed(4)
    projection = nn.ModuleDict({"proj": nn.Linear(16, 3 * 32), "norm": nn.LayerNorm(32)})
    folder = lora / "official"
    folder.mkdir()
    (folder / "pytorch_lora_weights.safetensors").hardlink_to(lora / "pytorch_lora_weights.safetensors")
    torch.save(dict(projection.state_dict()), folder / "proj.pth")
    return folder


@pytest.fixture(scope="module")
def image_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    size = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision = CLIPVisionModelWithProjection(CLIPVisionConfig(**size, patch_size=32, projection_dim=16))
    vision.save_pretrained(folder / "models" / "image_encoder")
    return folder


@pytest.fixture
def red_picture(portraits: list[PreparedFace], tmp_path: Path) -> Path:
    file = tmp_path / "red.png"
    file.write_bytes(encode_png(portraits[0].source[::-1].copy()))
    return file


def test_a_checkpoint_changes_what_is_painted_and_is_reported_in_one_line(
    tiny_sd: Path, lora: Path, portraits: list[PreparedFace], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    plain = paint(config(tiny_sd), portraits[0]).makeup
    adapted = paint(config(tiny_sd, checkpoint=str(lora)), portraits[0]).makeup
    assert not torch.allclose(plain, adapted, atol=1e-3)
    lines = [record.message for record in caplog.records if record.message.startswith("model.checkpoint: ")]
    assert len(lines) == 2 and "the plain base model" in lines[0] and "LoRA" in lines[1]
    assert not any("\n" in line for line in lines)


def test_a_base_of_random_weights_is_warned_of(tiny_sd: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_amplifier(config(tiny_sd), CPU)
    assert "no diffusion model" in caplog.text


def test_the_prompt_is_the_users_else_the_projects(tiny_sd: Path, portraits: list[PreparedFace]) -> None:
    own = paint(config(tiny_sd), portraits[0]).makeup
    same = paint(config(tiny_sd, prompt="a photo of a face with {style}", bare_prompt=""), portraits[0]).makeup
    other = paint(config(tiny_sd, prompt="{style}"), portraits[0]).makeup
    assert torch.equal(own, same) and not torch.equal(own, other)


def test_the_official_release_is_conditioned_on_pictures(
    tiny_sd: Path, official: Path, image_encoder: Path, red_picture: Path, portraits: list[PreparedFace]
) -> None:
    model = config(
        tiny_sd, checkpoint=str(official), style_images={"Red lips": str(red_picture)}, image_encoder=str(image_encoder)
    )
    assert known_styles(model) == ["Red lips"]
    painted = paint(model, portraits[0]).makeup
    red_picture.write_bytes(encode_png(portraits[1].source))
    assert float((paint(model, portraits[0]).makeup - painted).abs().max()) > 1e-3


def test_the_official_release_needs_its_pictures(tiny_sd: Path, official: Path, image_encoder: Path) -> None:
    with pytest.raises(UserError, match=r"model\.style_images: must be given"):
        known_styles(config(tiny_sd, checkpoint=str(official)))
    model = config(
        tiny_sd, checkpoint=str(official), style_images={"Red lips": "/none.png"}, image_encoder=str(image_encoder)
    )
    with pytest.raises(UserError, match=r"model\.style_images: the picture of Red lips, /none\.png: "):
        open_amplifier(model, CPU)


def test_the_scheduler_is_checked_before_anything_loads(tiny_sd: Path) -> None:
    with pytest.raises(UserError, match=r"model\.scheduler=PNDMScheduler: "):
        open_amplifier(config(Path("/no/such/base"), scheduler="PNDMScheduler"), CPU)


def test_the_compact_model_names_its_styles_and_a_text_model_takes_any(tiny_checkpoint: Path, lora: Path) -> None:
    compact = load("amplify", f"model.checkpoint={tiny_checkpoint}").model
    assert "Smokey eyes" in (known_styles(compact) or [])
    assert known_styles(config(Path("anywhere"))) is None
    assert known_styles(config(Path("anywhere"), checkpoint=str(lora))) is None


def test_pixels_depend_on_the_settings_and_on_what_the_checkpoint_holds(tiny_sd: Path, lora: Path) -> None:
    plain, more = pixel_settings(config(tiny_sd), CPU), pixel_settings(config(tiny_sd, steps=3), CPU)
    adapted = pixel_settings(config(tiny_sd, checkpoint=str(lora)), CPU)
    assert len(plain["model"]["pretrained"]) == 64  # what the folder holds, wherever it lies
    assert plain["model"]["precision"] == "float32"  # what auto means here
    assert plain["model.checkpoint"] is None and len(adapted["model.checkpoint"]) == 64
    assert plain["model"] != more["model"] and plain["model"] == adapted["model"]


def test_a_base_model_is_known_by_what_its_folder_holds(tiny_sd: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(tiny_sd, tmp_path / "moved")
    before = pixel_settings(config(tiny_sd), CPU)
    assert pixel_settings(config(moved), CPU) == before
    weights = moved / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    assert pixel_settings(config(moved), CPU) != before
    hub = pixel_settings(config(Path("somebody/base")), CPU)
    assert hub["model"]["pretrained"] == "somebody/base"
