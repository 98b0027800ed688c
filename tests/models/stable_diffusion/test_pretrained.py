import json
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from dda.errors import OptionError
from dda.models.stable_diffusion.pretrained import (
    REQUIRED_FILES,
    fingerprint_base_model,
    is_same_base,
    load_stable_diffusion,
)

HUB_ID = "stable-diffusion-v1-5/stable-diffusion-v1-5"
UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"


@pytest.fixture
def copy(tiny_sd: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_sd, tmp_path / "model"))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Turn off the network; the folder of an empty Hugging Face cache."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def fill_cache(cache: Path, folder: Path) -> Path:
    """Copy a model to where the hub's client puts downloads; return its folder there."""
    entry = cache / f"models--{HUB_ID.replace('/', '--')}"
    (entry / "refs").mkdir(parents=True)
    (entry / "refs" / "main").write_text("0" * 40)
    return Path(shutil.copytree(folder, entry / "snapshots" / ("0" * 40)))


def test_a_folder_gives_the_components_that_diffusers_gives(tiny_sd: Path) -> None:
    ours, theirs = load_stable_diffusion(str(tiny_sd)), StableDiffusionPipeline.from_pretrained(tiny_sd)
    for name in ("unet", "vae", "text_encoder"):
        weights, expected = getattr(ours, name).state_dict(), getattr(theirs, name).state_dict()
        assert weights.keys() == expected.keys()
        assert all(torch.equal(weights[key], expected[key]) for key in expected)
        assert not any(parameter.requires_grad for parameter in getattr(ours, name).parameters())
    assert ours.tokenizer("red lips").input_ids == theirs.tokenizer("red lips").input_ids
    assert ours.tokenizer.model_max_length == 77
    assert ours.scheduler_config.items() >= {"beta_end": 0.012, "_class_name": "PNDMScheduler"}.items()
    assert ours.vae_scale_factor == 8


@pytest.mark.parametrize(
    "name", [*REQUIRED_FILES, "tokenizer/tokenizer.json", "tokenizer/vocab.json", "tokenizer/merges.txt"]
)
def test_the_fingerprint_of_a_folder_depends_on_every_file_that_is_read(name: str, copy: Path, tiny_sd: Path) -> None:
    assert fingerprint_base_model(str(copy)) == fingerprint_base_model(str(tiny_sd))
    file = copy / name
    file.write_bytes((file.read_bytes() if file.exists() else b"") + b" ")
    assert fingerprint_base_model(str(copy)) != fingerprint_base_model(str(tiny_sd))


def test_the_fingerprint_of_a_hub_id_is_the_same_before_and_after_the_download(offline: Path, tiny_sd: Path) -> None:
    assert fingerprint_base_model(HUB_ID) == HUB_ID
    fill_cache(offline, tiny_sd)
    assert fingerprint_base_model(HUB_ID) == HUB_ID


def test_the_same_base_by_name_or_by_another_path(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(copy)
    (tmp_path / "other").mkdir()
    folder = str(copy)
    assert is_same_base(HUB_ID, HUB_ID) and is_same_base(folder, folder) and is_same_base("/gone", "/gone")
    assert is_same_base(folder, str(tmp_path / "link")) and is_same_base(f"{tmp_path}/other/../model", folder)
    for other in (HUB_ID, "/gone", str(tmp_path / "other")):
        assert not is_same_base(folder, other) and not is_same_base(other, folder)


def test_float16_files_are_read_in_float32(copy: Path) -> None:
    save_file({name: weight.half() for name, weight in load_file(copy / UNET).items()}, copy / UNET)
    assert load_stable_diffusion(str(copy)).unet.dtype == torch.float32


def test_a_vae_with_the_old_names_of_attention_weights_is_read(copy: Path, tiny_sd: Path) -> None:
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}  # as the 1.5 release has them
    weights = load_file(copy / VAE)
    for new, name in old.items():
        weights = {key.replace(f"attentions.0.{new}.", f"attentions.0.{name}."): w for key, w in weights.items()}
    assert any(".proj_attn." in key for key in weights)
    save_file(weights, copy / VAE)
    read, expected = (load_stable_diffusion(str(folder)).vae.state_dict() for folder in (copy, tiny_sd))
    assert all(torch.equal(read[key], expected[key]) for key in expected)


def test_the_cache_is_searched(offline: Path, tiny_sd: Path) -> None:
    fill_cache(offline, tiny_sd)
    assert load_stable_diffusion(HUB_ID).unet.config.cross_attention_dim == 32


def test_a_failed_download_says_in_one_line_what_to_do(offline: Path) -> None:
    with pytest.raises(OptionError) as caught:
        load_stable_diffusion(HUB_ID)
    line = str(caught.value)
    assert line.startswith(f"pretrained={HUB_ID}: no such folder, not in the Hugging Face cache")
    assert f"hf download {HUB_ID}" in line and "model=compact" in line and "\n" not in line


def test_an_incomplete_cache_is_refused_with_the_missing_file(offline: Path, tiny_sd: Path) -> None:
    (fill_cache(offline, tiny_sd) / UNET).unlink()
    with pytest.raises(OptionError, match=rf"the Hugging Face cache lacks its {UNET}.*model=compact"):
        load_stable_diffusion(HUB_ID)


def test_a_missing_path_is_no_hub_id(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="no such folder, and not a hub id"):
        load_stable_diffusion(str(tmp_path / "nothing" / "here"))


@pytest.mark.parametrize("name", REQUIRED_FILES)
def test_a_folder_that_lacks_a_file_is_refused(name: str, copy: Path) -> None:
    (copy / name).unlink()
    with pytest.raises(OptionError, match=f"no {name} in it; it must be a folder in diffusers' form"):
        load_stable_diffusion(str(copy))


def test_pickled_weights_are_not_read(copy: Path) -> None:
    torch.save(load_file(copy / UNET), (copy / UNET).with_suffix(".bin"))
    (copy / UNET).unlink()
    with pytest.raises(OptionError, match=f"no {UNET} in it"):
        load_stable_diffusion(str(copy))


def truncate_weights(folder: Path) -> None:
    (folder / UNET).write_bytes((folder / UNET).read_bytes()[:1000])


def remove_weight(folder: Path) -> None:
    weights = load_file(folder / UNET)
    del weights["conv_in.weight"]
    save_file(weights, folder / UNET)


def damage_json(folder: Path) -> None:
    (folder / "scheduler" / "scheduler_config.json").write_text("{")


def damage_tokenizer(folder: Path) -> None:
    (folder / "tokenizer" / "tokenizer.json").write_text(json.dumps({"version": "1.0"}))


def replace_by_inpainting(folder: Path) -> None:
    shutil.rmtree(folder / "unet")
    UNet2DConditionModel(
        in_channels=9, block_out_channels=(32,), layers_per_block=1, cross_attention_dim=32, attention_head_dim=4,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
    ).save_pretrained(folder / "unet")  # fmt: skip


def replace_by_sdxl(folder: Path) -> None:
    shutil.rmtree(folder / "unet")
    UNet2DConditionModel(
        block_out_channels=(32,), layers_per_block=1, cross_attention_dim=64, attention_head_dim=4,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
    ).save_pretrained(folder / "unet")  # fmt: skip


def replace_by_vae(folder: Path) -> None:
    shutil.rmtree(folder / "unet")
    AutoencoderKL(norm_num_groups=4, block_out_channels=(8,)).save_pretrained(folder / "unet")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncate_weights, "unet: its weights cannot be loaded: "),
        (remove_weight, "unet: its weights lack conv_in.weight"),
        (damage_json, "a file of it is damaged: "),
        (damage_tokenizer, "a file of it is damaged: "),
        (replace_by_inpainting, "its U-Net takes 9 channels, its VAE gives 4"),
        (replace_by_sdxl, "its U-Net attends to 64 features, its text encoder gives 32"),
        (replace_by_vae, "unet: its weights "),
    ],
)
def test_a_damaged_or_foreign_model_is_refused(damage: Callable[[Path], None], reason: str, copy: Path) -> None:
    damage(copy)
    with pytest.raises(OptionError, match=f"^pretrained={copy}: .*{reason}") as caught:
        load_stable_diffusion(str(copy))
    assert "\n" not in str(caught.value)
