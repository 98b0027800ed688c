import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dda.errors import UserError
from dda.models.stable_diffusion.checkpoints import digest
from tests.models.stable_diffusion.checkpoints.tiny import State, Trap, make_unet

Refusal = Callable[[Path], str]


def test_nothing_there(refusal: Refusal, tmp_path: Path) -> None:
    assert "nothing there" in refusal(tmp_path / "none")


def test_a_folder_of_something_else(refusal: Refusal, tmp_path: Path) -> None:
    make_unet().save_pretrained(tmp_path)
    assert "no known format" in refusal(tmp_path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_tensors_of_something_else(suffix: str, refusal: Refusal, tmp_path: Path) -> None:
    state, file = {"layers.0.weight": torch.ones(2)}, tmp_path / f"resnet{suffix}"
    save_file(state, file) if suffix == ".safetensors" else torch.save(state, file)
    assert "no known format (its first keys: layers.0.weight)" in refusal(file)


def test_a_bare_tensor(refusal: Refusal, tmp_path: Path) -> None:
    torch.save(torch.ones(3), tmp_path / "one.pt")
    assert "holds a Tensor" in refusal(tmp_path / "one.pt")


def test_names_that_are_no_text(refusal: Refusal, tmp_path: Path) -> None:
    torch.save({1: torch.ones(2)}, tmp_path / "list.pt")
    assert "no known format (its first keys: 1)" in refusal(tmp_path / "list.pt")


def test_a_file_of_another_kind(refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    assert "is no weights file" in refusal(tmp_path / "photo.png")


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_file_cut_short(share: float, suffix: str, refusal: Refusal, lora: State, tmp_path: Path) -> None:
    file = tmp_path / f"lora{suffix}"
    save_file(lora, file) if suffix == ".safetensors" else torch.save(lora, file)
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    assert f"lora{suffix} is damaged" in refusal(file)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_a_file_of_noise(suffix: str, refusal: Refusal, tmp_path: Path) -> None:
    file = tmp_path / f"lora{suffix}"
    file.write_bytes(bytes(range(256)) * 8)
    assert "is damaged" in refusal(file)


# --- Pickles with code in them ----------------------------------------------------------------------------


@pytest.fixture
def sprung(tmp_path: Path) -> Path:
    return tmp_path / "sprung"


def test_the_trap_would_spring(sprung: Path) -> None:
    pickle.loads(pickle.dumps(Trap(sprung)))
    assert sprung.exists()


def write_torch(file: Path, sprung: Path, lora: State) -> None:
    torch.save(lora | {"extra": Trap(sprung)}, file)


def write_old_torch(file: Path, sprung: Path, lora: State) -> None:
    torch.save(lora | {"extra": Trap(sprung)}, file, _use_new_zipfile_serialization=False)


def write_pickle(file: Path, sprung: Path, lora: State) -> None:
    file.write_bytes(pickle.dumps(Trap(sprung)))


@pytest.mark.parametrize("write", [write_torch, write_old_torch, write_pickle])
@pytest.mark.parametrize("name", ["pytorch_lora_weights.bin", "proj.pth", "dda_final.pt"])
def test_code_in_a_pickle_is_refused_and_not_run(
    name: str, write: Callable[[Path, Path, State], None], sprung: Path, refusal: Refusal, lora: State, tmp_path: Path
) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    if name == "proj.pth":
        save_file(lora, folder / "pytorch_lora_weights.safetensors")
    write(folder / name, sprung, lora)
    message = refusal(folder / name if name == "dda_final.pt" else folder)
    assert name in message and "nothing in it was run" in message
    assert not sprung.exists()


def test_code_in_a_torchscript_archive_is_refused(refusal: Refusal, tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "model.pt"))
    assert zipfile.is_zipfile(tmp_path / "model.pt")
    assert "TorchScript" in refusal(tmp_path / "model.pt")


def test_a_pickle_that_is_called_safetensors(sprung: Path, refusal: Refusal, tmp_path: Path) -> None:
    write_pickle(tmp_path / "lora.safetensors", sprung, {})
    refusal(tmp_path / "lora.safetensors")
    assert not sprung.exists()


# --- Digests ----------------------------------------------------------------------------------------------


def test_the_digest_is_that_of_the_files_that_make_pixels(lora: State, tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    save_file(lora, folder / "pytorch_lora_weights.safetensors")
    seen = [digest(folder)]
    assert seen == [digest(folder / "pytorch_lora_weights.safetensors")] and len(seen[0]) == 64
    (folder / "README.md").write_text("# A model card")
    assert digest(folder) == seen[0]
    for name in ("adapter_config.json", "proj.pth", "dda.json"):
        (folder / name).write_text("{}")
        seen.append(digest(folder))
        (folder / name).write_text("{ }")
        seen.append(digest(folder))
    (folder / "pytorch_lora_weights.safetensors").write_bytes(b"other")
    seen.append(digest(folder))
    assert len(set(seen)) == len(seen)


def test_the_digest_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing there"):
        digest(tmp_path / "none")


def test_the_digest_of_a_folder_without_weights(tmp_path: Path) -> None:
    (tmp_path / "dda.json").write_text("{}")
    with pytest.raises(UserError, match=r"pytorch_lora_weights\.safetensors is not there"):
        digest(tmp_path)
