import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dda.errors import OptionError
from dda.models.stable_diffusion.checkpoints import digest_checkpoint
from tests.models.stable_diffusion.checkpoints.tiny import State, Trap, make_unet

Refusal = Callable[[Path], str]


def test_a_missing_path(refusal: Refusal, tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "none")


def test_a_folder_of_another_model(refusal: Refusal, tmp_path: Path) -> None:
    make_unet().save_pretrained(tmp_path)
    assert "no known format" in refusal(tmp_path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_tensors_of_another_model(suffix: str, refusal: Refusal, tmp_path: Path) -> None:
    state, file = {"layers.0.weight": torch.ones(2)}, tmp_path / f"resnet{suffix}"
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    assert "no known format (its first keys: layers.0.weight)" in refusal(file)


def test_a_bare_tensor(refusal: Refusal, tmp_path: Path) -> None:
    torch.save(torch.ones(3), tmp_path / "one.pt")
    assert "holds a Tensor" in refusal(tmp_path / "one.pt")


def test_names_that_are_not_text(refusal: Refusal, tmp_path: Path) -> None:
    torch.save({1: torch.ones(2)}, tmp_path / "list.pt")
    assert "no known format (its first keys: 1)" in refusal(tmp_path / "list.pt")


def test_a_file_of_another_kind(refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    assert "is no weights file" in refusal(tmp_path / "photo.png")


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file(share: float, suffix: str, refusal: Refusal, lora: State, tmp_path: Path) -> None:
    file = tmp_path / f"lora{suffix}"
    save_file(lora, file) if suffix == ".safetensors" else torch.save(lora, file)
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    assert f"lora{suffix} is damaged" in refusal(file)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_a_file_of_other_bytes(suffix: str, refusal: Refusal, tmp_path: Path) -> None:
    file = tmp_path / f"lora{suffix}"
    file.write_bytes(bytes(range(256)) * 8)
    assert "is damaged" in refusal(file)


# --- Pickles with code in them ----------------------------------------------------------------------------


@pytest.fixture
def trap_file(tmp_path: Path) -> Path:
    return tmp_path / "trap"


def test_unpickling_the_trap_writes_its_file(trap_file: Path) -> None:
    pickle.loads(pickle.dumps(Trap(trap_file)))
    assert trap_file.exists()


def write_torch(file: Path, trap_file: Path, lora: State) -> None:
    torch.save(lora | {"extra": Trap(trap_file)}, file)


def write_old_torch(file: Path, trap_file: Path, lora: State) -> None:
    torch.save(lora | {"extra": Trap(trap_file)}, file, _use_new_zipfile_serialization=False)


def write_pickle(file: Path, trap_file: Path, lora: State) -> None:
    file.write_bytes(pickle.dumps(Trap(trap_file)))


@pytest.mark.parametrize("write", [write_torch, write_old_torch, write_pickle])
@pytest.mark.parametrize("name", ["pytorch_lora_weights.bin", "proj.pth", "dda_final.pt"])
def test_code_in_a_pickle_is_refused_and_not_run(
    name: str,
    write: Callable[[Path, Path, State], None],
    trap_file: Path,
    refusal: Refusal,
    lora: State,
    tmp_path: Path,
) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    if name == "proj.pth":
        save_file(lora, folder / "pytorch_lora_weights.safetensors")
    write(folder / name, trap_file, lora)
    message = refusal(folder / name if name == "dda_final.pt" else folder)
    assert name in message and "nothing in it was run" in message
    assert not trap_file.exists()


def test_code_in_a_torchscript_archive_is_refused(refusal: Refusal, tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "model.pt"))
    assert zipfile.is_zipfile(tmp_path / "model.pt")
    assert "TorchScript" in refusal(tmp_path / "model.pt")


def test_a_pickle_named_safetensors_is_not_opened(trap_file: Path, refusal: Refusal, tmp_path: Path) -> None:
    write_pickle(tmp_path / "lora.safetensors", trap_file, {})
    refusal(tmp_path / "lora.safetensors")
    assert not trap_file.exists()


# --- Digests ----------------------------------------------------------------------------------------------


def test_the_digest_depends_on_the_files_that_decide_pixels(lora: State, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    save_file(lora, folder / "pytorch_lora_weights.safetensors")
    digests = [digest_checkpoint(folder)]
    assert digests == [digest_checkpoint(folder / "pytorch_lora_weights.safetensors")] and len(digests[0]) == 64
    (folder / "README.md").write_text("# A model card")
    assert digest_checkpoint(folder) == digests[0]
    for name in ("adapter_config.json", "proj.pth", "dda.json"):
        (folder / name).write_text("{}")
        digests.append(digest_checkpoint(folder))
        (folder / name).write_text("{ }")
        digests.append(digest_checkpoint(folder))
    (folder / "pytorch_lora_weights.safetensors").write_bytes(b"other")
    digests.append(digest_checkpoint(folder))
    assert len(set(digests)) == len(digests)


def test_the_digest_of_a_missing_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="does not exist"):
        digest_checkpoint(tmp_path / "none")


def test_the_digest_of_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dda.json").write_text("{}")
    with pytest.raises(OptionError, match=r"pytorch_lora_weights\.safetensors is not there"):
        digest_checkpoint(tmp_path)
