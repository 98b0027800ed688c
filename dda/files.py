"""Files: writing them atomically, and digests of their content."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def digest_files(files: Iterable[Path]) -> str:
    """SHA-256 (64 hex digits) of what files hold, one after the other, whatever they are called."""
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()


def write_atomically(file: Path, data: bytes, tag: str = "new") -> None:
    """Write `file` as `atomic_file` does."""
    with atomic_file(file, tag) as stream:
        stream.write(data)


@contextmanager
def atomic_file(file: Path, tag: str = "new") -> Iterator[BinaryIO]:
    """A stream to write `file` through, which is never seen half-written, whenever the process or the machine stops.

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
