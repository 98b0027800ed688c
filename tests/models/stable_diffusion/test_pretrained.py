import json
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from dda.errors import UserError
from dda.models.stable_diffusion.pretrained import FILES, base_identity, is_same_base, load_stable_diffusion

HUB_ID = "stable-diffusion-v1-5/stable-diffusion-v1-5"
UNET = "unet/diffusion_pytorch_model.safetensors"
VAE = "vae/diffusion_pytorch_model.safetensors"


@pytest.fixture
def copy(tiny_sd: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_sd, tmp_path / "model"))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No network, and an empty Hugging Face cache, which this is the folder of."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def fill_cache(cache: Path, folder: Path) -> Path:
    """Put a model where the hub's client puts what it has downloaded; its snapshot."""
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
    assert ours.scheduler.items() >= {"beta_end": 0.012, "_class_name": "PNDMScheduler"}.items()
    assert ours.downsampling == 8


@pytest.mark.parametrize("name", [*FILES, "tokenizer/tokenizer.json", "tokenizer/vocab.json", "tokenizer/merges.txt"])
def test_a_folder_is_known_by_every_file_that_is_read(name: str, copy: Path, tiny_sd: Path) -> None:
    assert base_identity(str(copy)) == base_identity(str(tiny_sd))
    file = copy / name
    file.write_bytes((file.read_bytes() if file.exists() else b"") + b" ")
    assert base_identity(str(copy)) != base_identity(str(tiny_sd))


def test_a_hub_id_is_known_by_its_name_before_and_after_the_download(offline: Path, tiny_sd: Path) -> None:
    assert base_identity(HUB_ID) == HUB_ID
    fill_cache(offline, tiny_sd)
    assert base_identity(HUB_ID) == HUB_ID


def test_the_same_base_by_name_or_by_another_path(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(copy)
    (tmp_path / "other").mkdir()
    folder = str(copy)
    assert is_same_base(HUB_ID, HUB_ID) and is_same_base(folder, folder) and is_same_base("/gone", "/gone")
    assert is_same_base(folder, str(tmp_path / "link")) and is_same_base(f"{tmp_path}/other/../model", folder)
    for other in (HUB_ID, "/gone", str(tmp_path / "other")):
        assert not is_same_base(folder, other) and not is_same_base(other, folder)


def test_half_precision_files_are_read_in_float32(copy: Path) -> None:
    save_file({name: weight.half() for name, weight in load_file(copy / UNET).items()}, copy / UNET)
    assert load_stable_diffusion(str(copy)).unet.dtype == torch.float32


def test_a_vae_with_the_old_names_of_its_attention_is_read(copy: Path, tiny_sd: Path) -> None:
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}  # as the 1.5 release has them
    weights = load_file(copy / VAE)
    for new, name in old.items():
        weights = {key.replace(f"attentions.0.{new}.", f"attentions.0.{name}."): w for key, w in weights.items()}
    assert any(".proj_attn." in key for key in weights)
    save_file(weights, copy / VAE)
    read, expected = (load_stable_diffusion(str(folder)).vae.state_dict() for folder in (copy, tiny_sd))
    assert all(torch.equal(read[key], expected[key]) for key in expected)


def test_the_cache_is_looked_up(offline: Path, tiny_sd: Path) -> None:
    fill_cache(offline, tiny_sd)
    assert load_stable_diffusion(HUB_ID).unet.config.cross_attention_dim == 32


def test_without_folder_cache_and_hub_one_line_says_what_to_do(offline: Path) -> None:
    with pytest.raises(UserError) as refusal:
        load_stable_diffusion(HUB_ID)
    line = str(refusal.value)
    assert line.startswith(f"model.pretrained={HUB_ID}: no such folder, not in the Hugging Face cache")
    assert f"hf download {HUB_ID}" in line and "model=compact" in line and "\n" not in line


def test_an_incomplete_cache_says_what_it_lacks(offline: Path, tiny_sd: Path) -> None:
    (fill_cache(offline, tiny_sd) / UNET).unlink()
    with pytest.raises(UserError, match=rf"the Hugging Face cache lacks its {UNET}.*model=compact"):
        load_stable_diffusion(HUB_ID)


def test_a_path_that_is_not_there_is_no_hub_id(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder, and not a hub id"):
        load_stable_diffusion(str(tmp_path / "nothing" / "here"))


@pytest.mark.parametrize("name", FILES)
def test_a_folder_that_lacks_a_file_is_refused(name: str, copy: Path) -> None:
    (copy / name).unlink()
    with pytest.raises(UserError, match=f"no {name} in it; it must be a folder in diffusers' form"):
        load_stable_diffusion(str(copy))


def test_pickled_weights_are_not_read(copy: Path) -> None:
    torch.save(load_file(copy / UNET), (copy / UNET).with_suffix(".bin"))
    (copy / UNET).unlink()
    with pytest.raises(UserError, match=f"no {UNET} in it"):
        load_stable_diffusion(str(copy))


def damage_weights(folder: Path) -> None:
    (folder / UNET).write_bytes((folder / UNET).read_bytes()[:1000])


def drop_a_weight(folder: Path) -> None:
    weights = load_file(folder / UNET)
    del weights["conv_in.weight"]
    save_file(weights, folder / UNET)


def damage_json(folder: Path) -> None:
    (folder / "scheduler" / "scheduler_config.json").write_text("{")


def damage_tokenizer(folder: Path) -> None:
    (folder / "tokenizer" / "tokenizer.json").write_text(json.dumps({"version": "1.0"}))


def put_inpainting(folder: Path) -> None:
    shutil.rmtree(folder / "unet")
    UNet2DConditionModel(
        in_channels=9, block_out_channels=(32,), layers_per_block=1, cross_attention_dim=32, attention_head_dim=4,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
    ).save_pretrained(folder / "unet")  # fmt: skip


def put_sdxl(folder: Path) -> None:
    shutil.rmtree(folder / "unet")
    UNet2DConditionModel(
        block_out_channels=(32,), layers_per_block=1, cross_attention_dim=64, attention_head_dim=4,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
    ).save_pretrained(folder / "unet")  # fmt: skip


def put_vae_for_unet(folder: Path) -> None:
    shutil.rmtree(folder / "unet")
    AutoencoderKL(norm_num_groups=4, block_out_channels=(8,)).save_pretrained(folder / "unet")


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (damage_weights, "unet: its weights cannot be loaded: "),
        (drop_a_weight, "unet: its weights lack conv_in.weight"),
        (damage_json, "a file of it is damaged: "),
        (damage_tokenizer, "a file of it is damaged: "),
        (put_inpainting, "its U-Net takes 9 channels, its VAE gives 4"),
        (put_sdxl, "its U-Net attends to 64 features, its text encoder gives 32"),
        (put_vae_for_unet, "unet: its weights "),
    ],
)
def test_a_damaged_or_foreign_model_is_refused(harm: Callable[[Path], None], reason: str, copy: Path) -> None:
    harm(copy)
    with pytest.raises(UserError, match=f"^model.pretrained={copy}: .*{reason}") as refusal:
        load_stable_diffusion(str(copy))
    assert "\n" not in str(refusal.value)
