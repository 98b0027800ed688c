"""Writing finished pairs, so that a file under its final name is always whole."""

from pathlib import Path

import numpy as np

from dda.files import write_atomically
from dda.pairs.run_files import DATA_FOLDER
from dda.png import encode_png


def pair_name(place: int, face: int) -> str:
    """Return the file name of a pair: image_0003.png, and image_0003_1.png for a picture's second face."""
    return f"image_{place:04d}_{face}.png" if face else f"image_{place:04d}.png"


class PairWriter:
    """Writes pairs into `run_dir`/amplified_data/{source,target}/, safe to call from several threads.

    Opening removes what a writer of this `tag` left half-written when it was killed, so nobody else may be writing
    under it: a shard's tag is its index, and the lock of its journal sees to that. Processes that work for a shard
    write under `INDEX-...`, each with its own.
    """

    def __init__(self, run_dir: Path, tag: str = "0") -> None:
        self._tag = tag
        self._source = run_dir / DATA_FOLDER / "source"
        self._target = run_dir / DATA_FOLDER / "target"
        for folder in (self._source, self._target):
            folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(run_dir, tag)

    def write(self, name: str, source: np.ndarray, target: np.ndarray, source_png: bytes | None = None) -> None:
        """Write a pair of uint8 (H, W, 3) pictures under one name.

        `source_png` is `source` already encoded, for a face that has several styles.

        Raises:
            OSError: one of them cannot be written; none of them is there then.
        """
        if source.shape != target.shape:
            raise ValueError(f"{name}: source is {source.shape}, target is {target.shape}")
        write_atomically(self._target / name, encode_png(target), self._tag)
        try:
            write_atomically(self._source / name, source_png or encode_png(source), self._tag)
        except OSError:
            (self._target / name).unlink(missing_ok=True)
            raise


def pair_exists(run_dir: Path, name: str) -> bool:
    """Return whether both files of a pair are there."""
    return all((run_dir / DATA_FOLDER / side / name).is_file() for side in ("source", "target"))


def remove_pair(run_dir: Path, name: str) -> None:
    """Remove the files of a pair that are there."""
    for side in ("source", "target"):
        (run_dir / DATA_FOLDER / side / name).unlink(missing_ok=True)


def remove_unfinished(run_dir: Path, tag: str) -> None:
    """Remove what writers of this tag, or of one that begins with `TAG-`, left half-written when they were killed."""
    for side in ("source", "target"):
        for pattern in (f".*.{tag}.tmp", f".*.{tag}-*.tmp"):
            for stale in (run_dir / DATA_FOLDER / side).glob(pattern):
                stale.unlink(missing_ok=True)  # a writer of the tag may still be at work
