"""Datasets of faces: which pictures there are, in an order that no file system changes."""

import importlib.util
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from dda.errors import UserError
from dda.images import read_image

# HEIC is listed though it cannot be decoded, so that such a photo ends as a row with a reason.
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif",
    ".heic", ".heif",
)  # fmt: skip
FFHQ_ROOT = Path("datasets/ffhq")
DEMO_FILES = {  # public-domain portraits (NASA, US Navy) that two packages carry
    "astronaut.png": ("skimage", "data/astronaut.png"),
    "grace_hopper.jpg": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
}

_log = logging.getLogger(__name__)


class DatasetConfig(Protocol):
    """The `dataset` group of the configuration."""

    name: str
    root: str | None
    align: str


@dataclass(frozen=True)
class FaceDataset:
    """Pictures of faces below one folder.

    Attributes:
        name: "demo", "folder" or "ffhq".
        root: the folder.
        aligned: the pictures are used as they are, resized; otherwise faces are cropped out of them.
    """

    name: str
    root: Path
    aligned: bool

    @cached_property
    def paths(self) -> list[str]:
        """Relative paths with forward slashes, sorted part by part; listed when first asked for.

        Raises:
            UserError: the folder cannot be listed, or has no pictures.
        """
        return _list_pictures(self.root)

    def __len__(self) -> int:
        return len(self.paths)

    def file(self, path: str) -> Path:
        """Where the picture `path` lies on disk."""
        return self.root / path

    def load(self, path: str) -> np.ndarray:
        """The picture `path` as uint8 (H, W, 3) RGB.

        Raises:
            ImageError: it cannot be read; `ImageReadError` if another try may succeed.
        """
        return read_image(self.file(path))


class DemoDataset(FaceDataset):
    """Portraits that installed packages carry, so that a first run needs no dataset and no network."""

    @cached_property
    def paths(self) -> list[str]:
        """Their names."""
        return sorted(DEMO_FILES)

    def file(self, path: str) -> Path:
        package, inside = DEMO_FILES[path]
        spec = importlib.util.find_spec(package)  # finds the package without importing it
        if spec is None or spec.origin is None or not (file := Path(spec.origin).parent / inside).is_file():
            raise UserError(f"dataset=demo: {package} lacks its {inside}: pip install --force-reinstall {package}")
        return file


def open_dataset(cfg: DatasetConfig) -> FaceDataset:
    """The dataset that `dataset.name`, `dataset.root` and `dataset.align` describe. No folder is listed.

    Raises:
        UserError: the folder is not given, missing or no folder.
    """
    if cfg.name == "demo":
        return _open_demo(cfg)
    if cfg.name == "ffhq":
        root = Path(cfg.root or FFHQ_ROOT).expanduser()
        if not os.path.exists(root):
            raise UserError(
                f"dataset.root: FFHQ is not at {root}: download images1024x1024 as told at "
                "https://github.com/NVlabs/ffhq-dataset and set dataset.root to its folder, "
                "or use dataset=folder dataset.root=DIR or dataset=demo"
            )
        return FaceDataset("ffhq", _folder(root), aligned=cfg.align == "none")
    if cfg.root is None:
        raise UserError("dataset.root is not set: dataset=folder needs dataset.root=DIR, a folder of pictures")
    root = Path(cfg.root).expanduser()
    return FaceDataset("folder", _folder(root), aligned=cfg.align == "none")


def _open_demo(cfg: DatasetConfig) -> FaceDataset:
    if cfg.root is not None:
        raise UserError(f"dataset.root={cfg.root} has no meaning for dataset=demo: add dataset=folder")
    dataset = DemoDataset("demo", Path(), aligned=cfg.align == "none")
    for path in dataset.paths:
        dataset.file(path)
    return dataset


def _folder(root: Path) -> Path:
    if not os.path.exists(root):
        raise UserError(f"dataset.root: there is no folder {root}: check the path")
    if not os.path.isdir(root):
        raise UserError(f"dataset.root: {root} is a file: give the folder of pictures")
    return root


def _list_pictures(root: Path) -> list[str]:
    try:
        files = list(_walk(root, ""))
    except OSError as error:
        raise UserError(f"dataset.root: cannot list {error.filename}: {error.strerror}") from error
    links = {path for path, is_link in files if is_link and not _leads_inside(root, path)}
    if links:
        _log.warning(
            "%s: %d symbolic links that lead to a folder, out of this one or nowhere are left out", root, len(links)
        )
    paths = [path for path, _ in files if path not in links]
    if not paths:
        aside = f"; passed over {len(links)} symbolic links to folders, out of it or nowhere" if links else ""
        raise UserError(f"dataset.root: no pictures below {root}: looked for {' '.join(SUFFIXES)}{aside}")
    return sorted(paths, key=lambda path: path.split("/"))


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, bool]]:
    """Yield (relative path, is a link) of each picture and each link to a folder, passing over hidden entries."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(folder / entry.name, f"{prefix}{entry.name}/")
            elif entry.is_symlink() and os.path.isdir(entry.path):
                yield prefix + entry.name, True
            elif entry.name.lower().endswith(SUFFIXES) and (entry.is_symlink() or entry.is_file()):
                yield prefix + entry.name, entry.is_symlink()


def _leads_inside(root: Path, path: str) -> bool:
    try:
        file = (root / path).resolve(strict=True)
    except (OSError, RuntimeError):  # it leads nowhere, or to itself
        return False
    return file.is_file() and file.is_relative_to(root.resolve())
