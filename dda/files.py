"""Files: writing them atomically, digests of their content, and listing them by stem."""

import hashlib
import os
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from dda.errors import UserError


def digest_file(file: Path) -> str:
    """Return the SHA-256 (64 hex digits) of a file's content."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_files(files: Iterable[Path]) -> str:
    """Return the SHA-256 (64 hex digits) of the contents of files, in their order, whatever they are called."""
    return hashlib.sha256(b"".join(bytes.fromhex(digest_file(file)) for file in files)).hexdigest()


def write_atomically(file: Path, data: bytes, tag: str = "new") -> None:
    """Write `file` as `atomic_file` does."""
    with atomic_file(file, tag) as stream:
        stream.write(data)


@contextmanager
def atomic_file(file: Path, tag: str = "new") -> Iterator[BinaryIO]:
    """Yield a stream to write `file` through; the file is never seen half-written, whenever the machine stops.

    The bytes wait in a hidden file beside it, `.NAME.TAG.tmp`, until they are on the disk. After an error there is
    neither.
    """
    waiting = file.with_name(f".{file.name}.{tag}.tmp")
    try:
        with waiting.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        waiting.replace(file)
    except Exception:  # what a full disk left would keep it full
        waiting.unlink(missing_ok=True)
        raise


def files_by_stem(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """List the files of a folder with one of these suffixes by stem, in name order; hidden files are left out.

    Stems are normalized (NFC): macOS stores é or 민 as several characters that look like one.

    Raises:
        UserError: two files have the same stem.
    """
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.name.lower().endswith(suffixes) and not file.name.startswith("."):
            stem = unicodedata.normalize("NFC", file.stem)
            if other := files.get(stem):
                raise UserError(f"{folder}: {other.name} and {file.name} have the same name; rename one of them")
            files[stem] = file
    return files
