"""The journal: an append-only record of every pair that was tried, one JSON object a line.

Each shard of a run has its own file, which only the holder of its lock writes. Rows are on the disk before
`append` returns, so a process may be killed at any moment: at most the last line is torn, and dropped.
"""

import itertools
import json
import os
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from filelock import FileLock, Timeout

from dda.errors import UserError

STATUSES = ("ok", "rejected", "failed")
_FILE_NAME = re.compile(r"journal-(\d+)of(\d+)\.jsonl")


@dataclass(frozen=True, slots=True)
class PairRow:
    """One attempt at one pair.

    Attributes:
        place: the pair's number in the plan.
        face: index of the face in the picture, 0 for the largest.
        path: the source picture, relative to the dataset.
        style: name of the style.
        attempt: which draw of noise it was made of. A retry after a fault keeps it, so it is 0 unless noise is
            drawn anew.
        status: "ok"; "rejected", the source cannot be used and never will; "failed", worth another run.
        stage: where it ended ("decode", "parse", "write", ...).
        reason: why, in one short line; empty when ok.
        name: file name of the finished pair, the same in source/ and target/; empty unless ok.
        content_hash: of the source, as it was cut out of the picture; empty if it was not.
        measures: free numbers about the pair, kept in the manifest.
    """

    place: int
    face: int
    path: str
    style: str
    attempt: int
    status: str
    stage: str
    reason: str
    name: str
    content_hash: str
    measures: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status is {self.status!r}, allowed are {', '.join(STATUSES)}")


@dataclass
class JournalContents:
    """What a journal file says.

    Attributes:
        rows: those of the latest try of each place, by (place, face).
        finished: whether the shard's run reached its end after its last row.
        num_pairs: the number of pairs that the finished run was asked for (None: all).
        pairs_per_second: of the latest start that made any and reached its end; None where none did.
        size: bytes up to the end of the last whole line that counts.
    """

    rows: dict[tuple[int, int], PairRow] = field(default_factory=dict)
    finished: bool = False
    num_pairs: int | None = None
    pairs_per_second: float | None = None
    size: int = 0


def journal_file(run_dir: Path, shard_index: int, shard_count: int) -> Path:
    """Return where the journal of a shard is."""
    return run_dir / f"journal-{shard_index}of{shard_count}.jsonl"


def read_journal(file: Path) -> JournalContents:
    """Read a journal, without a torn last line and the other faces of its place. The file is not changed.

    Raises:
        UserError: a whole line is damaged.
    """
    contents = JournalContents()
    data = file.read_bytes() if file.exists() else b""
    contents.size = data.rfind(b"\n") + 1
    for number, line in enumerate(data[: contents.size].splitlines(), start=1):
        try:
            _apply_entry(contents, json.loads(line))
        except (ValueError, TypeError, LookupError) as error:
            raise UserError(
                f"{file}:{number}: damaged line ({error}): delete this line to make its pair again"
            ) from error
    if (torn := data[contents.size :]) and contents.rows:
        place, _ = next(reversed(contents.rows))
        begun = f'{{"place": {place},'.encode()
        if torn.startswith(begun) or begun.startswith(torn):
            _forget_place(contents, place)
            # Left in the file, they would look complete once the torn line is cut off.
            whole = data[: contents.size].splitlines(keepends=True)
            while whole and whole[-1].startswith(begun):
                contents.size -= len(whole.pop())
    return contents


def find_journals(run_dir: Path) -> tuple[dict[int, Path], int]:
    """Return the journals in a run's folder by shard, and the number of shards (0 if there is no journal).

    Raises:
        UserError: the journals disagree about the number of shards.
    """
    found = [(match, file) for file in run_dir.glob("journal-*.jsonl") if (match := _FILE_NAME.fullmatch(file.name))]
    counts = sorted({int(match[2]) for match, _ in found})
    if len(counts) > 1:
        raise UserError(f"{run_dir}: journals of different shard.count ({', '.join(map(str, counts))}): keep one kind")
    journals = {int(match[1]): file for match, file in found}
    return dict(sorted(journals.items())), counts[0] if counts else 0


class Journal:
    """The journal of one shard, open for appending: `with Journal(run_dir, 0, 1) as journal: ...`.

    Opening takes the shard's lock and cuts off a torn last line.

    Raises:
        UserError: another process holds the lock, a line is damaged, or the run has another shard count.
    """

    def __init__(self, run_dir: Path, shard_index: int, shard_count: int) -> None:
        self.file = journal_file(run_dir, shard_index, shard_count)
        self._shard_count = shard_count
        self._lock = FileLock(run_dir / f".{self.file.stem}.lock")
        self._contents = JournalContents()
        self._descriptor = -1

    @property
    def rows(self) -> list[PairRow]:
        """The latest row of each (place, face), sorted by them."""
        return [row for _, row in sorted(self._contents.rows.items())]

    def append(self, rows: Iterable[PairRow]) -> None:
        """Add rows and return when they are on the disk; all of them or, after an error, none."""
        self._write([asdict(row) for row in rows])

    def finish(self, num_pairs: int | None, pairs_per_second: float | None) -> None:
        """Note that the shard's part of a run of `num_pairs` pairs (None: all) is done; how fast, if it made any."""
        if not (self._contents.finished and self._contents.num_pairs == num_pairs):
            self._write([{"finished": True, "num_pairs": num_pairs, "pairs_per_second": pairs_per_second}])

    def __enter__(self) -> Self:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(
                f"{self.file} is being written by another process: wait for it, or choose another run_name"
            ) from error
        try:
            self._check_shard_count()
            self._contents = read_journal(self.file)
            self._descriptor = os.open(self.file, os.O_WRONLY | os.O_CREAT, 0o666)
            os.ftruncate(self._descriptor, self._contents.size)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
        self._lock.release()

    def _check_shard_count(self) -> None:
        _, count = find_journals(self.file.parent)
        if count not in (0, self._shard_count):
            raise UserError(
                f"shard.count is {self._shard_count}, but {self.file.parent} was begun with {count}: "
                f"use shard.count={count} or another run_name"
            )

    def _write(self, entries: list[dict[str, Any]]) -> None:
        # A name that is not UTF-8 holds lone surrogates; escaped with a backslash they are valid JSON.
        lines = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
        data = lines.encode("utf-8", "backslashreplace")
        try:
            _write_all(self._descriptor, data, self._contents.size)
            os.fsync(self._descriptor)
        except OSError:  # a full disk must not leave half a line in the way of later ones
            os.ftruncate(self._descriptor, self._contents.size)
            raise
        self._contents.size += len(data)
        for entry in entries:
            _apply_entry(self._contents, entry)


def _apply_entry(contents: JournalContents, entry: dict[str, Any]) -> None:
    contents.finished = "finished" in entry
    if contents.finished:
        contents.num_pairs = entry["num_pairs"]
        contents.pairs_per_second = entry["pairs_per_second"] or contents.pairs_per_second
    else:
        row = PairRow(**entry)
        if row.face == 0:  # a place tried again begins anew: fewer faces may be found in its picture
            _forget_place(contents, row.place)
        contents.rows[row.place, row.face] = row


def _forget_place(contents: JournalContents, place: int) -> None:
    for face in itertools.count():
        if contents.rows.pop((place, face), None) is None:
            return


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
