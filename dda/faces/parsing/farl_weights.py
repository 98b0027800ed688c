"""Weight files of the FaRL parser: given by the user, or downloaded once into torch hub's cache.

The authors publish no hashes. A file is therefore checked for its structure before it is loaded, and an incomplete
download is never kept: TorchScript archives have a checksum for every entry, and a state file must hold every tensor of
the network.
"""

import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

import torch

from dda.errors import OptionError, first_line
from dda.system.network import socket_timeout


class InvalidWeightsError(Exception):
    """A weight file is damaged or something else; the message says what is wrong."""


@dataclass(frozen=True)
class WeightsFile:
    """A file that a parser needs.

    Attributes:
        option: the option that names the file.
        given: the option's value; None: the file of ``url`` in torch hub's cache.
        url: where the authors publish it.
        check: raises InvalidWeightsError for a file that is damaged or something else.
    """

    option: str
    given: str | None
    url: str
    check: Callable[[Path], None]

    @property
    def path(self) -> Path:
        """Path of the file, which may have to be downloaded first."""
        return locate_cached_file(self.url) if self.given is None else Path(self.given)


def find_weights(*files: WeightsFile) -> list[Path]:
    """Return the paths of files after checking each; a file neither given nor cached is downloaded into the cache.

    Raises:
        OptionError: files are missing and cannot be downloaded, or one does not pass its check.
    """
    missing, reason = [], ""
    for file in files:
        try:
            _download_and_check(file)
        except OSError as error:
            if file.given is not None:
                raise OptionError(file.option, f"cannot be read: {error.strerror or error}", file.given) from error
            missing.append(file)
            reason = first_line(error)
    if missing:
        urls, options = (
            " and ".join(texts) for texts in zip(*((file.url, file.option) for file in missing), strict=True)
        )
        raise OptionError(
            missing[-1].option,
            f"FaRL's weights are missing and cannot be downloaded ({reason}); save {urls} in "
            f"{missing[0].path.parent}, or anywhere and give {options}; or use the mesh parser, which needs no weights",
        )
    return [file.path for file in files]


def _download_and_check(file: WeightsFile) -> None:
    try:
        if file.given is None and not file.path.is_file():
            _download(file.url, file.path, file.check)
        else:
            file.check(file.path)
    except InvalidWeightsError as error:
        if file.given is None:
            remedy = f"delete it if it exists and try again, or give {file.option}"
        else:
            remedy = f"give the file of {file.url}"
        raise OptionError(file.option, f"{file.path} {error}; {remedy}; or use the mesh parser") from error


def locate_cached_file(url: str) -> Path:
    """Return the path at which torch hub caches the file of ``url``."""
    return Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(url).path).name)


def check_torchscript(file: Path) -> None:
    """Check that a file is a complete TorchScript archive.

    Raises:
        InvalidWeightsError: what is wrong with it.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            damaged_entry = archive.testzip()
            has_code = any("/code/" in name for name in archive.namelist())
    except zipfile.BadZipFile as error:
        raise InvalidWeightsError("is not a TorchScript file, or is cut short") from error
    if damaged_entry is not None:
        raise InvalidWeightsError(f"is damaged: the checksum of its {damaged_entry} is wrong")
    if not has_code:
        raise InvalidWeightsError("is not a TorchScript file: it holds no code")


def check_state_file(file: Path, expected: Mapping[str, torch.Tensor]) -> None:
    """Check that a file holds the complete state of a network; no code in it is run.

    Args:
        file: a state dict saved by torch, which may be nested under "state_dict" and prefixed by "module.".
        expected: the network's state, for its names and shapes.

    Raises:
        InvalidWeightsError: what is wrong with it.
    """
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise InvalidWeightsError(f"cannot be read as a network's state ({type(error).__name__})") from error
    state = state.get("state_dict", state) if isinstance(state, Mapping) else {}
    state = {name.removeprefix("module."): value for name, value in state.items()}
    for name, value in expected.items():
        if name.endswith("num_batches_tracked"):  # missing in files of old versions; only training reads it
            continue
        if name not in state:
            raise InvalidWeightsError(f"lacks {name}")
        if state[name].shape != value.shape:
            raise InvalidWeightsError(
                f"has {name} in the shape {tuple(state[name].shape)} instead of {tuple(value.shape)}"
            )
        if not torch.isfinite(state[name]).all():
            raise InvalidWeightsError(f"has values in {name} that are not finite")


def _download(url: str, file: Path, check: Callable[[Path], None]) -> None:
    """Download ``url``, and keep it as ``file`` only if it passes its check."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        with socket_timeout():
            torch.hub.download_url_to_file(url, str(part))
        check(part)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
