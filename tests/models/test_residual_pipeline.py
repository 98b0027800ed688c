import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from dda.errors import UserError
from dda.faces.preparation import PreparedFace
from dda.images import to_tensor
from dda.models.compact.options import CompactOptions
from dda.models.residuals import Residuals
from dda.models.stable_diffusion.checkpoints import apply_checkpoint
from dda.models.stable_diffusion.loader import load_conditions
from dda.models.stable_diffusion.options import StableDiffusionOptions
from dda.models.stable_diffusion.pretrained import load_stable_diffusion
from dda.png import encode_png
from dda.regions import REGIONS
from dda.styles import Style
from tests.models.stable_diffusion.checkpoints.tiny import legacy_lora

CPU, GPU = torch.device("cpu"), torch.device("cuda")
RED = Style("Red lips", dict.fromkeys(REGIONS, "Red lips"), dict.fromkeys(REGIONS, 1.0))


def config(tiny_sd: Path, **changed: Any) -> StableDiffusionOptions:
    """Options with the tiny base and two steps."""
    return StableDiffusionOptions(**{"pretrained": str(tiny_sd), "steps": 2, "strength": 0.5, **changed})


def paint(model: StableDiffusionOptions, face: PreparedFace, device: torch.device = CPU) -> Residuals:
    amplifier = model.open(device)
    source, masks = to_tensor(face.source)[None].to(device), torch.from_numpy(face.regions.masks)[None].to(device)
    noise = torch.randn(1, *amplifier.noise_shape, generator=torch.Generator().manual_seed(0)).to(device)
    return amplifier.residuals(amplifier.encode_faces(source, masks, [face.regions.face], noise), [0], [RED])


@pytest.fixture(scope="module")
def lora(tiny_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lora")
    unet = UNet2DConditionModel.from_pretrained(tiny_sd / "unet")
    save_file(legacy_lora(unet), folder / "pytorch_lora_weights.safetensors")
    return folder


@pytest.fixture
def ours(tiny_sd: Path, lora: Path, tmp_path: Path) -> Path:
    """The lora's file in a folder of our own form: trained from the tiny base, for a strength of 0.5."""
    folder = tmp_path / "ours"
    folder.mkdir()
    (folder / "pytorch_lora_weights.safetensors").hardlink_to(lora / "pytorch_lora_weights.safetensors")
    learned = {"alpha": 0.5, "region_weights": dict.fromkeys(REGIONS, 1.0), "styles": ["Red lips"]}
    made = {"base": str(tiny_sd), "strength": 0.5, "prompt": "{style}", "bare_prompt": "", "rank": 4}
    (folder / "dda.json").write_text(json.dumps({"format": "dda-sd15", "version": 1, **learned, **made}))
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


def misfits(model: StableDiffusionOptions, caplog: pytest.LogCaptureFixture) -> list[str]:
    """What an opened amplifier warns of its checkpoint."""
    caplog.clear()
    model.open(CPU)
    return [record.message for record in caplog.records if record.message.startswith("checkpoint=")]


def test_a_checkpoint_on_the_base_and_strength_of_its_training_is_no_cause_to_warn(
    tiny_sd: Path, ours: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "link").symlink_to(tiny_sd)
    for base in (tiny_sd, tmp_path / "link"):
        assert misfits(config(base, checkpoint=str(ours)), caplog) == []


def test_a_checkpoint_on_another_base_or_strength_is_warned_of(
    tiny_sd: Path, ours: Path, lora: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = shutil.copytree(tiny_sd, tmp_path / "other")
    base, strength = misfits(config(other, checkpoint=str(ours), strength=0.25), caplog)
    assert f"was trained from {tiny_sd}, and pretrained={other}: " in base
    assert "was trained for strength=0.5, and strength=0.25: " in strength
    assert "\n" not in base + strength
    assert misfits(config(other, checkpoint=str(lora), strength=0.25), caplog) == []  # a file that does not say


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
    lines = [record.message for record in caplog.records if record.message.startswith("checkpoint: ")]
    assert len(lines) == 2 and "the plain base model" in lines[0] and "LoRA" in lines[1]
    assert not any("\n" in line for line in lines)


def test_a_base_of_random_weights_is_warned_of(tiny_sd: Path, caplog: pytest.LogCaptureFixture) -> None:
    config(tiny_sd).open(CPU)
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
    assert model.styles() == ["Red lips"]
    painted = paint(model, portraits[0]).makeup
    red_picture.write_bytes(encode_png(portraits[1].source))
    assert float((paint(model, portraits[0]).makeup - painted).abs().max()) > 1e-3


def test_the_official_release_is_conditioned_where_it_runs(
    tiny_sd: Path, official: Path, image_encoder: Path, red_picture: Path
) -> None:
    """On a GPU that need not be there: fake tensors have a device, and no values."""
    model = config(
        tiny_sd, checkpoint=str(official), style_images={"Red lips": str(red_picture)}, image_encoder=str(image_encoder)
    )
    base = load_stable_diffusion(model.pretrained)
    applied = apply_checkpoint(model.checkpoint, base.unet)
    with FakeTensorMode(allow_non_fake_inputs=True):
        conditions = load_conditions(model, base, applied, GPU)
        faces = conditions.encode_faces(torch.rand(2, 3, 512, 512, device=GPU))
        found = [faces, conditions.encode_bare_condition(), conditions.encode_style("Red lips")]
    assert [tuple(tokens.shape) for tokens in found] == [(2, 3, 32), (1, 3, 32), (1, 3, 32)]
    assert {tokens.device.type for tokens in found} == {"cuda"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_official_release_paints_on_a_gpu_what_it_paints_without(
    tiny_sd: Path, official: Path, image_encoder: Path, red_picture: Path, portraits: list[PreparedFace]
) -> None:
    style_images = {"Red lips": str(red_picture)}
    given = {"checkpoint": str(official), "style_images": style_images, "image_encoder": str(image_encoder)}
    model = config(tiny_sd, precision="fp32", **given)
    here, there = (paint(model, portraits[0], device).makeup.cpu() for device in (CPU, GPU))
    assert float((here - there).abs().mean()) < 0.1 * float(here.abs().mean())


def test_the_official_release_needs_its_pictures(tiny_sd: Path, official: Path, image_encoder: Path) -> None:
    with pytest.raises(UserError, match=r"style_images: must be given"):
        config(tiny_sd, checkpoint=str(official)).styles()
    model = config(
        tiny_sd, checkpoint=str(official), style_images={"Red lips": "/none.png"}, image_encoder=str(image_encoder)
    )
    with pytest.raises(UserError, match=r"style_images: the picture of Red lips, /none\.png: "):
        model.open(CPU)


def test_the_scheduler_is_checked_before_anything_loads(tiny_sd: Path) -> None:
    with pytest.raises(UserError, match=r"scheduler=PNDMScheduler: "):
        config(Path("/no/such/base"), scheduler="PNDMScheduler").open(CPU)


def test_the_compact_model_names_its_styles_and_a_text_model_takes_any(tiny_checkpoint: Path, lora: Path) -> None:
    compact = CompactOptions(checkpoint=str(tiny_checkpoint))
    assert "Smokey eyes" in (compact.styles() or [])
    assert config(Path("anywhere")).styles() is None
    assert config(Path("anywhere"), checkpoint=str(lora)).styles() is None


def test_pixels_depend_on_the_settings_and_on_what_the_checkpoint_holds(tiny_sd: Path, lora: Path) -> None:
    plain, more = config(tiny_sd).fingerprint(CPU), config(tiny_sd, steps=3).fingerprint(CPU)
    adapted = config(tiny_sd, checkpoint=str(lora)).fingerprint(CPU)
    assert len(plain["pretrained"]) == 64  # what the folder holds, wherever it lies
    assert plain["precision"] == "float32"  # what auto means here
    assert "checkpoint" not in plain and len(adapted["checkpoint"]) == 64
    assert plain != more and plain == {key: value for key, value in adapted.items() if key != "checkpoint"}


def test_a_base_model_is_known_by_what_its_folder_holds(tiny_sd: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(tiny_sd, tmp_path / "moved")
    before = config(tiny_sd).fingerprint(CPU)
    assert config(moved).fingerprint(CPU) == before
    weights = moved / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    assert config(moved).fingerprint(CPU) != before
    hub = config(Path("somebody/base")).fingerprint(CPU)
    assert hub["pretrained"] == "somebody/base"


def test_an_image_encoder_is_known_by_what_its_folder_holds_where_it_is_used(
    tiny_sd: Path, official: Path, lora: Path, image_encoder: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(image_encoder, tmp_path / "moved")

    def recorded(checkpoint: Path, encoder: Path | str) -> str:
        model = config(tiny_sd, checkpoint=str(checkpoint), image_encoder=str(encoder))
        return model.fingerprint(CPU)["image_encoder"]

    before = recorded(official, image_encoder)
    assert len(before) == 64 and recorded(official, moved) == before
    weights = moved / "models" / "image_encoder" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"!")
    assert recorded(official, moved) != before
    assert recorded(official, "somebody/encoder") == "somebody/encoder"
    assert recorded(lora, moved) == str(moved)  # words condition it: no file is read


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_machine_without_a_gpu_can_say_what_a_run_on_gpus_depends_on(tiny_sd: Path) -> None:
    """As the head of a Ray cluster, which cannot tell what auto means on the machines that work."""
    for asked, recorded in (("auto", "auto"), ("fp32", "float32"), ("bf16", "bfloat16")):
        assert config(tiny_sd, precision=asked).fingerprint(GPU)["precision"] == recorded
