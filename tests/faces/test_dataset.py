import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dda.errors import UserError
from dda.faces.dataset import DemoOptions, FaceDataset, FFHQOptions, FolderOptions
from dda.images import ImageError, ImageReadError


def _open(name: str, root: Path | str | None = None, align: str = "ffhq") -> FaceDataset:
    options = {"demo": DemoOptions, "folder": FolderOptions, "ffhq": FFHQOptions}[name]
    return options(root=None if root is None else str(root), align=align).open()


def _picture(path: Path, color: str = "red") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), color).save(path, "PNG")


def test_the_demo_needs_no_files_and_is_not_aligned() -> None:
    dataset = _open("demo")
    assert dataset.paths == ["astronaut.png", "grace_hopper.jpg"]
    assert not dataset.aligned and len(dataset) == 2
    for path in dataset.paths:
        image = dataset.load(path)
        assert image.dtype == np.uint8 and min(image.shape[:2]) >= 500 and image.shape[2] == 3


def test_the_demo_with_a_root_suggests_the_folder_dataset(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="add dataset=folder"):
        _open("demo", tmp_path)


def test_a_folder_tree_is_sorted_part_by_part(tmp_path: Path) -> None:
    names = [
        "b.png",
        "a/z.JPG",
        "a.b/1.jpeg",
        "a/b/2.webp",
        "사진 (1)/é, [x]=1.png",
        "old.Tiff",
        "phone.heic",
    ]
    for name in names:
        _picture(tmp_path / name)
    for name in ["notes.txt", "noextension", ".hidden.png", ".cache/1.png", "a/.DS_Store", "png"]:
        _picture(tmp_path / name)
    (tmp_path / "folder.png").mkdir()
    dataset = _open("folder", tmp_path)
    assert dataset.paths == [
        "a/b/2.webp", "a/z.JPG", "a.b/1.jpeg", "b.png", "old.Tiff", "phone.heic", "사진 (1)/é, [x]=1.png",
    ]  # fmt: skip
    assert dataset.load("사진 (1)/é, [x]=1.png").shape == (6, 8, 3)
    assert dataset.root == tmp_path


def test_pictures_are_aligned_already_with_align_none(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png")
    assert not _open("folder", tmp_path, "ffhq").aligned
    assert _open("folder", tmp_path, "none").aligned


def test_names_that_are_not_utf8_are_listed(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/" + "사진.png".encode("euc-kr")
    _picture(tmp_path / "plain.png")
    try:
        (tmp_path / "plain.png").rename(os.fsdecode(raw))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    dataset = _open("folder", tmp_path)
    assert len(dataset) == 1 and dataset.load(dataset.paths[0]).shape == (6, 8, 3)


def test_links_out_of_the_folder_are_skipped_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    _picture(tmp_path / "outside" / "secret.png")
    root = tmp_path / "root"
    _picture(root / "real.png")
    (root / "inside.png").symlink_to(root / "real.png")
    (root / "out.png").symlink_to(tmp_path / "outside" / "secret.png")
    (root / "nowhere.png").symlink_to(root / "missing.png")
    (root / "itself.png").symlink_to(root / "itself.png")
    (root / "loop").symlink_to(root)
    with caplog.at_level(logging.WARNING):
        assert _open("folder", root).paths == ["inside.png", "real.png"]
    assert "4 symbolic links" in caplog.text

    (tmp_path / "alias").symlink_to(root)
    assert _open("folder", tmp_path / "alias").paths == ["inside.png", "real.png"]


def test_a_folder_with_only_links_to_folders_is_an_error(tmp_path: Path) -> None:
    _picture(tmp_path / "elsewhere" / "a.png")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mounted").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"no pictures below .*photos: looked for .*; passed over 1 symbolic links"):
        _ = _open("folder", tmp_path / "photos").paths


def test_the_home_directory_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _picture(tmp_path / "photos" / "a.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert _open("folder", "~/photos").paths == ["a.png"]


def test_errors_name_the_option_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"root: must be given"):
        _open("folder")
    with pytest.raises(UserError, match=r"^root: there is no folder .*missing"):
        _open("folder", tmp_path / "missing")
    with pytest.raises(UserError, match=r"^root: there is no folder"):
        _open("folder", "long" * 100)
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(UserError, match=r"^root: .*notes\.txt is a file"):
        _open("folder", tmp_path / "notes.txt")
    with pytest.raises(UserError, match=r"no pictures below .*: looked for \.jpg .*\.png"):
        _ = _open("folder", tmp_path).paths


def test_pictures_are_listed_when_first_needed(tmp_path: Path) -> None:
    """A worker loads the pictures it is given, and does not list a million of them."""
    dataset = _open("folder", tmp_path)
    _picture(tmp_path / "late.png")
    assert dataset.load("late.png").shape == (6, 8, 3)
    assert dataset.paths == ["late.png"]


def test_a_bad_picture_raises_when_it_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not a picture")
    _picture(tmp_path / "gone.png")
    dataset = _open("folder", tmp_path)
    with pytest.raises(ImageError, match="not a picture"):
        dataset.load("text.jpg")
    (tmp_path / "gone.png").unlink()
    with pytest.raises(ImageReadError, match="No such file"):
        dataset.load("gone.png")


def test_ffhq_in_its_own_layout_and_flat(tmp_path: Path) -> None:
    for name in ("00000/00015.png", "00000/00002.png", "69000/69999.png", "LICENSE.txt"):
        _picture(tmp_path / name)
    dataset = _open("ffhq", tmp_path, "none")
    assert dataset.paths == ["00000/00002.png", "00000/00015.png", "69000/69999.png"]
    assert dataset.aligned and not _open("ffhq", tmp_path, "ffhq").aligned  # its in-the-wild pictures
    _picture(tmp_path / "flat" / "00001.png")
    assert _open("ffhq", tmp_path / "flat").paths == ["00001.png"]


def test_the_message_without_ffhq_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"datasets/ffhq: download .*ffhq-dataset.*dataset=folder.*dataset=demo"):
        _open("ffhq")
    _picture(tmp_path / "datasets" / "ffhq" / "00000" / "00000.png")
    assert _open("ffhq").paths == ["00000/00000.png"]
