"""Datasets of faces: which pictures there are, in an order that no file system changes."""

import importlib.util
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from dda.errors import OptionError, UserError
from dda.images import read_image
from dda.options import FOLDER_PATH, Choice, one_of, option

# HEIC is listed though it cannot be decoded, so that such a photo ends as a row with a reason.
SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".avif",
    ".heic", ".heif",
)  # fmt: skip
FFHQ_ROOT = "./datasets/ffhq/"
DEMO_FILES = {  # public-domain portraits (NASA, US Navy) that two packages carry
    "astronaut.png": ("skimage", "data/astronaut.png"),
    "grace_hopper.jpg": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
}

_log = logging.getLogger(__name__)


class PictureSource(Protocol):
    """Where pictures come from: a dataset on disk, or pictures in memory."""

    @property
    def aligned(self) -> bool:
        """Whether the pictures are used as they are, resized; otherwise faces are cropped out of them."""

    def load(self, path: str) -> np.ndarray:
        """Return the picture ``path`` as uint8 (H, W, 3) RGB.

        Raises:
            ImageError: it cannot be read; `ImageReadError` if another try may succeed.
        """


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
            raise UserError(f"demo dataset: {package} lacks its {inside}: pip install --force-reinstall {package}")
        return file


@dataclass(kw_only=True)
class DatasetOptions(Choice, ABC):
    """A dataset to amplify."""

    name: str = option("The dataset.")
    root: str | None = option(
        "Folder of the pictures.",
        None,
        limit=FOLDER_PATH,
        is_path=True,
        changes_output=False,  # the plan's fingerprint says which pictures there are
    )
    align: str = option(
        "ffhq: crop and turn by landmarks as FFHQ does | none: the picture as it is, resized to 512.",
        limit=one_of("ffhq", "none"),
    )

    @abstractmethod
    def open(self) -> FaceDataset:
        """Open the dataset; its folder is checked, not listed.

        Raises:
            OptionError: the folder is not given, missing or not a folder.
        """


@dataclass(kw_only=True)
class DemoOptions(DatasetOptions):
    """The two public-domain portraits that scikit-image and matplotlib carry."""

    name: str = option("The dataset.", "demo", limit=one_of("demo"))
    align: str = option(
        "ffhq: crop and turn by landmarks as FFHQ does | none: the picture as it is, resized to 512.",
        "ffhq",
        limit=one_of("ffhq", "none"),
    )

    def open(self) -> DemoDataset:
        """As :meth:`DatasetOptions.open`."""
        if self.root is not None:
            raise OptionError("root", "has no meaning for dataset=demo: add dataset=folder", self.root)
        dataset = DemoDataset("demo", Path(), aligned=self.align == "none")
        for path in dataset.paths:
            dataset.file(path)
        return dataset


@dataclass(kw_only=True)
class FolderOptions(DatasetOptions):
    """Any folder tree of photos; links are followed to pictures in the tree, not out of it."""

    name: str = option("The dataset.", "folder", limit=one_of("folder"))
    align: str = option(
        "ffhq: crop and turn by landmarks as FFHQ does | none: the picture as it is, resized to 512.",
        "ffhq",
        limit=one_of("ffhq", "none"),
    )

    def open(self) -> FaceDataset:
        """As :meth:`DatasetOptions.open`."""
        if self.root is None:
            raise OptionError("root", "must be given for dataset=folder; write dataset.root=DIR")
        return FaceDataset("folder", _check_folder(Path(self.root).expanduser()), aligned=self.align == "none")


@dataclass(kw_only=True)
class FFHQOptions(DatasetOptions):
    """FFHQ in its own layout (00000/00015.png), or all files in one folder; its pictures are aligned already."""

    name: str = option("The dataset.", "ffhq", limit=one_of("ffhq"))
    root: str | None = option(
        "Folder of the pictures.", FFHQ_ROOT, limit=FOLDER_PATH, is_path=True, changes_output=False
    )
    align: str = option(
        "ffhq: crop and turn by landmarks as FFHQ does | none: the picture as it is, resized to 512.",
        "none",
        limit=one_of("ffhq", "none"),
    )

    def open(self) -> FaceDataset:
        """As :meth:`DatasetOptions.open`."""
        root = Path(self.root or FFHQ_ROOT).expanduser()
        if not os.path.exists(root):
            raise OptionError(
                "root",
                f"FFHQ is not at {root}: download images1024x1024 as told at "
                "https://github.com/NVlabs/ffhq-dataset and set dataset.root to its folder, "
                "or use dataset=folder dataset.root=DIR or dataset=demo",
            )
        return FaceDataset("ffhq", _check_folder(root), aligned=self.align == "none")


def _check_folder(root: Path) -> Path:
    if not os.path.exists(root):
        raise OptionError("root", f"there is no folder {root}: check the path")
    if not os.path.isdir(root):
        raise OptionError("root", f"{root} is a file: give the folder of pictures")
    return root


def _list_pictures(root: Path) -> list[str]:
    try:
        files = list(_walk(root, ""))
    except OSError as error:
        raise OptionError("root", f"cannot list {error.filename}: {error.strerror}") from error
    links = {path for path, is_link in files if is_link and not _leads_inside(root, path)}
    if links:
        _log.warning(
            "%s: %d symbolic links that lead to a folder, out of this one or nowhere are left out", root, len(links)
        )
    paths = [path for path, _ in files if path not in links]
    if not paths:
        skipped = f"; passed over {len(links)} symbolic links to folders, out of it or nowhere" if links else ""
        raise OptionError("root", f"no pictures below {root}: looked for {' '.join(SUFFIXES)}{skipped}")
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
