import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DModel
from safetensors.torch import load_file, save_file

from dda.errors import OptionError
from dda.files import digest_files
from dda.models.compact.checkpoint import WEIGHTS_NAME, digest_checkpoint, load_compact_model, shipped_checkpoint
from dda.models.compact.network import CompactResidualModel


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    CompactResidualModel(styles=("A", "은은한"), channels=(8, 8), style_dim=4).save_pretrained(tmp_path / "ck")
    return tmp_path / "ck"


class _Trap:
    """Writes a file if it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., int], tuple[Path, str]]:
        return Path.write_text, (self.file, "run by a pickle")


def refusal(checkpoint: Path) -> str:
    """Return the line that refuses a checkpoint."""
    with pytest.raises(OptionError) as caught:
        load_compact_model(checkpoint)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(f"checkpoint={checkpoint}: ")
    return message


def change_config(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


def test_a_saved_model_is_loaded_in_evaluation_mode(folder: Path) -> None:
    model = load_compact_model(folder)
    saved = load_file(folder / WEIGHTS_NAME)
    assert saved.keys() == model.state_dict().keys()
    assert all(torch.equal(value, saved[name]) for name, value in model.state_dict().items())
    assert list(model.config.styles) == ["A", "은은한"]
    assert not model.training and not any(parameter.requires_grad for parameter in model.parameters())


def test_float16_weights_are_loaded_as_float32(folder: Path) -> None:
    load_compact_model(folder).half().save_pretrained(folder)
    assert load_file(folder / WEIGHTS_NAME)["alpha"].dtype == torch.float16
    assert {parameter.dtype for parameter in load_compact_model(folder).parameters()} == {torch.float32}


def test_the_shipped_checkpoint_has_five_styles_in_less_than_15_mb() -> None:
    model = load_compact_model(None)
    assert set(model.config.styles) == {
        "Natural makeup", "Glamorous makeup", "Smokey eyes", "Red lip makeup", "Korean makeup",
    }  # fmt: skip
    assert sum(file.stat().st_size for file in shipped_checkpoint().iterdir()) < 15 * 2**20


def test_a_missing_folder(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "none")


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    assert "no config.json" in refusal(tmp_path)


def test_a_model_of_another_kind(tmp_path: Path) -> None:
    UNet2DModel(
        sample_size=8, block_out_channels=(8,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
        norm_num_groups=8,
    ).save_pretrained(tmp_path)  # fmt: skip
    assert "UNet2DModel" in refusal(tmp_path)


@pytest.mark.parametrize("text", [b"{", b"[]", b"", b"\xff\xfe\x00"], ids=["truncated", "list", "empty", "binary"])
def test_a_config_that_is_not_a_json_object(text: bytes, folder: Path) -> None:
    (folder / "config.json").write_bytes(text)
    assert "not a JSON object" in refusal(folder)


def test_a_config_of_an_impossible_network(folder: Path) -> None:
    change_config(folder, channels=[7, 7])
    assert "cannot be loaded" in refusal(folder)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_truncated_weights(share: float, folder: Path) -> None:
    data = (folder / WEIGHTS_NAME).read_bytes()
    (folder / WEIGHTS_NAME).write_bytes(data[: int(len(data) * share)])
    assert "cannot be loaded" in refusal(folder)


def test_missing_weights(folder: Path) -> None:
    (folder / WEIGHTS_NAME).unlink()
    assert f"no {WEIGHTS_NAME}" in refusal(folder)


def test_weights_of_another_shape(folder: Path) -> None:
    change_config(folder, style_dim=8)
    assert "cannot be loaded" in refusal(folder)


@pytest.mark.parametrize("name", ["alpha", "fgmm.styles", "unet.conv_out.bias"])
def test_weights_that_lack_a_tensor(name: str, folder: Path) -> None:
    weights = load_file(folder / WEIGHTS_NAME)
    del weights[name]
    save_file(weights, folder / WEIGHTS_NAME, metadata={"format": "pt"})
    assert name in refusal(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite(value: float, folder: Path) -> None:
    weights = load_file(folder / WEIGHTS_NAME)
    weights["unet.conv_in.bias"][3] = value
    save_file(weights, folder / WEIGHTS_NAME, metadata={"format": "pt"})
    assert "unet.conv_in.bias" in refusal(folder)


@pytest.mark.parametrize("name", [WEIGHTS_NAME, "diffusion_pytorch_model.bin"])
def test_a_pickle_is_refused_and_not_opened(name: str, folder: Path, tmp_path: Path) -> None:
    (folder / WEIGHTS_NAME).unlink()
    (folder / name).write_bytes(pickle.dumps(_Trap(tmp_path / "trap")))
    refusal(folder)
    assert not (tmp_path / "trap").exists()


def test_a_pickled_file_in_place_of_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "dda.pth"
    file.write_bytes(pickle.dumps(_Trap(tmp_path / "trap")))
    assert "a file" in refusal(file)
    assert not (tmp_path / "trap").exists()


def test_unpickling_the_trap_writes_its_file(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(_Trap(tmp_path / "trap")))
    assert (tmp_path / "trap").exists()


def test_the_digest_depends_on_config_and_weights(folder: Path) -> None:
    before = digest_checkpoint(folder)
    assert before == digest_files([folder / "config.json", folder / WEIGHTS_NAME])
    weights = load_file(folder / WEIGHTS_NAME)
    weights["alpha"] += 1e-3
    save_file(weights, folder / WEIGHTS_NAME, metadata={"format": "pt"})
    changed = digest_checkpoint(folder)
    change_config(folder, styles=["A", "B"])
    assert len({before, changed, digest_checkpoint(folder)}) == 3
    assert digest_checkpoint(None) == digest_checkpoint(shipped_checkpoint())
