"""The weight files of the FaRL parser: given by the user, or downloaded once into torch hub's cache.

Their authors publish no hashes. So a file is checked for what it must be before anything is made of it, and a download
cut short is never kept: TorchScript archives carry a checksum for every entry, and a network's state must hold every
value of the network.
"""

import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

import torch

from dda.errors import UserError, first_line
from dda.system.network import socket_timeout


class Unusable(Exception):
    """A file that is not what it should be; the message says why."""


@dataclass(frozen=True)
class WeightsFile:
    """A file that a parser needs.

    Attributes:
        key: the configuration key that may give it.
        given: what that key says; None: the file of ``url`` in torch hub's cache.
        url: where its authors publish it.
        check: raises Unusable for a file that is damaged or something else.
    """

    key: str
    given: str | None
    url: str
    check: Callable[[Path], None]

    @property
    def path(self) -> Path:
        """Where it lies, or will lie once it is downloaded."""
        return cache_file(self.url) if self.given is None else Path(self.given)


def find_weights(*files: WeightsFile) -> list[Path]:
    """The paths of files, each checked; what is neither given nor in the cache is downloaded into it.

    Raises:
        UserError: files are missing and cannot be downloaded, or one does not pass its check.
    """
    missing, why = [], ""
    for file in files:
        try:
            _make_sure(file)
        except OSError as error:
            if file.given is not None:
                raise UserError(f"{file.key}={file.given}: cannot be read: {error.strerror or error}") from error
            missing.append(file)
            why = first_line(error)
    if missing:
        urls, names = (" and ".join(texts) for texts in zip(*((file.url, file.key) for file in missing), strict=True))
        raise UserError(
            f"parser=farl: weights are missing and cannot be downloaded ({why}); save {urls} in "
            f"{missing[0].path.parent}, or anywhere and give {names}; parser=mesh needs no weights"
        )
    return [file.path for file in files]


def _make_sure(file: WeightsFile) -> None:
    """Check a file, and download it first where it has to be."""
    try:
        if file.given is None and not file.path.is_file():
            _download(file.url, file.path, file.check)
        else:
            file.check(file.path)
    except Unusable as error:
        if file.given is None:
            cure = f"delete it if it is there and try again, or give {file.key}"
        else:
            cure = f"it should be {file.url}"
        raise UserError(f"{file.key}: {file.path} {error}; {cure}; parser=mesh needs no weights") from error


def cache_file(url: str) -> Path:
    """Where torch hub keeps the file of ``url``."""
    return Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(url).path).name)


def check_torchscript(file: Path) -> None:
    """Refuse a file that is not a whole TorchScript archive.

    Raises:
        Unusable: what is wrong with it.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
            is_script = any("/code/" in name for name in archive.namelist())
    except zipfile.BadZipFile as error:
        raise Unusable("is no TorchScript file, or is cut short") from error
    if damaged is not None:
        raise Unusable(f"is damaged: the checksum of its {damaged} is wrong")
    if not is_script:
        raise Unusable("is no TorchScript file: it holds no code")


def check_state(file: Path, wanted: Mapping[str, torch.Tensor]) -> None:
    """Refuse a file that does not hold the whole state of a network; no code in it is run.

    Args:
        wanted: the network's state, for its names and shapes.

    Raises:
        Unusable: what is wrong with it.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise Unusable(f"cannot be read as a state of a network ({type(error).__name__})") from error
    state = state.get("state_dict", state) if isinstance(state, Mapping) else {}
    state = {name.removeprefix("module."): value for name, value in state.items()}
    for name, value in wanted.items():
        if name.endswith("num_batches_tracked"):  # a count that files of old lack, and that only training reads
            continue
        if name not in state:
            raise Unusable(f"lacks {name}")
        if state[name].shape != value.shape:
            raise Unusable(f"{name} has the shape {tuple(state[name].shape)} instead of {tuple(value.shape)}")
        if not torch.isfinite(state[name]).all():
            raise Unusable(f"{name} holds values that are not finite")


def _download(url: str, file: Path, check: Callable[[Path], None]) -> None:
    """Download ``url``, and keep it as ``file`` only if it is whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        with socket_timeout():
            torch.hub.download_url_to_file(url, str(part))
        check(part)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
