import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dda
from dda.images import read_image
from tests.conftest import ROOT, STYLES


def test_a_run_is_a_dataset(undisturbed: Path) -> None:
    dataset = dda.PairDataset(undisturbed)
    assert len(dataset) == 10
    item = dataset[0]
    source = read_image(undisturbed / "amplified_data" / "source" / f"{item['name']}.png")
    assert torch.equal((item["source"] * 255).round().byte(), torch.from_numpy(source).permute(2, 0, 1))
    assert item["target"].shape == (3, 512, 512) and item["style"] in STYLES


def test_a_style_can_be_chosen(undisturbed: Path) -> None:
    dataset = dda.PairDataset(undisturbed, style="Smokey eyes")
    assert {item["style"] for item in dataset} == {"Smokey eyes"}


def test_any_folder_of_pairs_is_a_dataset_without_what_has_no_partner(tmp_path: Path) -> None:
    for name in ("source/a.png", "target/a.jpg", "source/alone.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 40), "red").save(tmp_path / name)
    dataset = dda.PairDataset(tmp_path)
    assert [item["name"] for item in dataset] == ["a"]


def test_a_transform_gets_both_pictures(undisturbed: Path) -> None:
    dataset = dda.PairDataset(undisturbed, transform=lambda source, target: np.asarray(source) != np.asarray(target))
    assert all(item.shape == (512, 512, 3) and item.any() for item in dataset)


@pytest.mark.parametrize("folder", ["missing", "empty"])
def test_a_folder_without_pairs_is_named(folder: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(dda.OptionError, match=f"^folder={tmp_path / folder}: "):
        dda.PairDataset(tmp_path / folder)


LOADER = """
import sys
import torch
from torch.utils.data import DataLoader, Dataset

import dda

class Pictures(Dataset):
    def __init__(self, files, transform):
        self.files, self.transform = files, transform

    def __len__(self):
        return len(self.files)

    def __getitem__(self, index):
        return self.transform(self.files[index])

if __name__ == "__main__":
    torch.set_num_threads(1)
    checkpoint, run, *files = sys.argv[1:]
    transform = dda.AmplifyTransform(path_or_hub_id=checkpoint, unusable="skip", device="cpu")
    here = transform(files[0])
    loader = DataLoader(
        Pictures(files, transform), 2, num_workers=1, collate_fn=dda.collate_pairs, multiprocessing_context="spawn"
    )
    (batch,) = loader
    assert batch["target"].shape == (1, 3, 512, 512) and torch.equal(batch["target"][0], here["target"])
    (pairs,) = DataLoader(dda.PairDataset(run), 10, num_workers=1)
    assert pairs["source"].shape == (10, 3, 512, 512)
"""


def test_the_workers_of_a_loader_amplify_and_read(
    tiny_checkpoint: Path, photos: Path, undisturbed: Path, tmp_path: Path
) -> None:
    (tmp_path / "loader.py").write_text(LOADER)
    pictures = [photos / "astronaut.png", photos / "bad" / "letter.jpg"]
    command = [sys.executable, tmp_path / "loader.py", tiny_checkpoint, undisturbed, *pictures]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert ended.returncode == 0, ended.stderr


def test_a_transform_gives_tensors_and_the_style(tiny_checkpoint: Path, photos: Path) -> None:
    item = dda.AmplifyTransform(path_or_hub_id=tiny_checkpoint, device="cpu")(photos / "astronaut.png")
    assert item is not None and item["masks"].shape == (4, 512, 512) and item["style"] in STYLES


def test_a_transform_draws_the_style_by_the_picture(tiny_checkpoint: Path, astronaut: np.ndarray) -> None:
    transform = dda.AmplifyTransform(path_or_hub_id=tiny_checkpoint, device="cpu")
    first, again = (transform(astronaut) for _ in range(2))
    assert first is not None and again is not None and first["style"] == again["style"]
    styles = {
        dda.AmplifyTransform(path_or_hub_id=tiny_checkpoint, seed=seed).draw_style(astronaut) for seed in range(20)
    }
    assert len(styles) > 2


def test_a_picture_that_gives_no_pair_is_raised_or_skipped(tiny_checkpoint: Path) -> None:
    black = np.zeros((300, 300, 3), np.uint8)
    with pytest.raises(dda.SourceError):
        dda.AmplifyTransform(["Smokey eyes"], tiny_checkpoint)(black)
    assert dda.AmplifyTransform(["Smokey eyes"], tiny_checkpoint, unusable="skip")(black) is None
    assert dda.collate_pairs([None, None]) is None
