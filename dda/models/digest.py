"""What files hold, in a word: how a run knows the weights that it was begun with."""

import hashlib
from collections.abc import Iterable
from pathlib import Path


def digest_files(files: Iterable[Path]) -> str:
    """SHA-256 (64 hex digits) of what files hold, one after the other, whatever they are called."""
    total = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()
