"""The jobs of a sweep: what each was given, and what it made."""

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from dda.errors import UserError
from dda.pairs.journal import STATUSES, JournalContents, PairRow, find_journals, read_journal

# In the record that Hydra keeps of a start: why the job failed, one line.
FAILURE = "failure.txt"

# How a job is shared out among processes, which changes nothing that it makes.
_PROCESSES = ("shard.index", "shard.count", "run_name", "launch", "launch.processes")
_MEANS = ("makeup_change", "raw_leakage", "mask_share")


@dataclass(frozen=True)
class Job:
    """One job of a sweep; the shards of a plan are one.

    Attributes:
        folder: where its pairs are.
        settings: what it was given, by key, where the jobs differ.
        label: the same in short, a line for each.
        problem: why it is not finished; empty if it is.
        rows: what its journals say of every pair tried.
        pairs_per_second: of its shards together, as their journals say; None where none made any.
    """

    folder: Path
    settings: Mapping[str, str]
    label: str
    problem: str
    rows: Sequence[PairRow]
    pairs_per_second: float | None

    @property
    def made(self) -> list[PairRow]:
        return [row for row in self.rows if row.status == "ok"]

    def numbers(self) -> dict[str, float | None]:
        """Return its columns of the table: counts, means over the finished pairs, pixels changed in all backgrounds."""
        counts = Counter(row.status for row in self.rows)
        return {
            **{status: counts[status] for status in STATUSES},
            **{name: _mean(row.measures[name] for row in self.made if name in row.measures) for name in _MEANS},
            "background_pixels": sum(row.measures["background_pixels"] for row in self.made) if self.made else None,
            "pairs_per_second": self.pairs_per_second,
        }


def read_jobs(sweep: Path) -> list[Job]:
    """Return the jobs of a sweep, in their order, from what Hydra recorded and from their journals.

    Raises:
        UserError: there is no job in the folder.
    """
    folders = job_folders(sweep)
    if not folders:
        raise UserError(f"{sweep}: no jobs here: give the folder of a sweep (-m) of run_amplify.py")
    starts = [_Start(_read_starts(folder)[-1]) for folder in folders]
    given = [key for key in dict.fromkeys(key for start in starts for key in start.overrides) if key not in _PROCESSES]
    values = {key: [start.value(key) for start in starts] for key in given}
    differing = {key: column for key, column in values.items() if len(set(column)) > 1}
    short = {key: _shorten_paths(column) for key, column in differing.items()}
    jobs = []
    for index, (folder, start) in enumerate(zip(folders, starts, strict=True)):
        settings = {key: column[index] for key, column in differing.items()}
        lines = [_line(key, short[key][value], key in start.choices) for key, value in settings.items()]
        rows, problem, speed = _read_journals(folder)
        jobs.append(Job(folder, settings, "\n".join(lines) or folder.name, problem, rows, speed))
    return jobs


def job_folders(sweep: Path) -> list[Path]:
    """Return the folders of a sweep's jobs, in the order of their numbers."""
    return sorted((folder for folder in sweep.glob("[!.]*") if _read_starts(folder)), key=_natural_key)


def _natural_key(folder: Path) -> tuple[int, str]:
    """Return a key by which 10_natural comes after 9_natural."""
    number = re.match(r"\d+", folder.name)
    return int(number[0]) if number else 0, folder.name


def _read_starts(folder: Path) -> list[Path]:
    """Return Hydra's records of the starts of a job, oldest first: their names begin with the time."""
    return sorted(file.parent for file in folder.glob(".hydra/*/overrides.yaml"))


class _Start:
    """What Hydra recorded of one start."""

    def __init__(self, record: Path) -> None:
        texts = [str(text) for text in OmegaConf.load(record / "overrides.yaml")]
        parsed = OverridesParser.create().parse_overrides(texts)
        self.overrides = {override.key_or_group: override.value() for override in parsed}
        self.choices = OmegaConf.load(record / "hydra.yaml").hydra.runtime.choices
        self._cfg = OmegaConf.load(record / "config.yaml")

    def value(self, key: str) -> str:
        """Return what `key` was, whether this start was given it or took what `conf/` says."""
        if key in self.overrides:
            return _format_value(self.overrides[key])
        return _format_value(self.choices[key] if key in self.choices else OmegaConf.select(self._cfg, key))


def _format_value(value: Any) -> str:
    """Return a value as it is written on the command line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _line(key: str, value: str, is_group: bool) -> str:
    return value if is_group else f"{key.rpartition('.')[2]}={value}"


def _shorten_paths(values: Sequence[str]) -> dict[str, str]:
    """Return the values; paths lose the folders that all of them begin and end with."""
    paths = {value: Path(value).parts for value in values if os.sep in value}
    head = _count_shared_folders(paths.values())
    tail = _count_shared_folders(parts[::-1] for parts in paths.values())
    inner = {value: "/".join(parts[head : len(parts) - tail]) or Path(value).name for value, parts in paths.items()}
    return {value: inner.get(value) or value for value in values}


def _count_shared_folders(paths: Iterable[Sequence[str]]) -> int:
    """Return how many folders all paths begin with."""
    return sum(1 for _ in takewhile(lambda parts: len(set(parts)) == 1, zip(*paths, strict=False)))


def _read_journals(folder: Path) -> tuple[list[PairRow], str, float | None]:
    """Return the pairs tried by a job, why it is not finished (empty if it is), and its pairs per second."""
    try:
        files, count = find_journals(folder)
        journals = [read_journal(file) for file in files.values()]
    except UserError as error:
        return [], str(error), None
    tried = {key: row for journal in journals for key, row in journal.rows.items()}
    rows = [row for _, row in sorted(tried.items())]
    speeds = [journal.pairs_per_second for journal in journals if journal.pairs_per_second]
    return rows, _find_problem(folder, journals, count), sum(speeds) or None


def _find_problem(folder: Path, journals: Sequence[JournalContents], count: int) -> str:
    """Return why a job of `count` shards is not finished; empty if it is."""
    if failures := _find_failures(folder):
        return "; ".join(failures)
    if not journals:
        return "stopped before its first pair"
    unfinished = count - sum(journal.finished for journal in journals)
    if not unfinished:
        return ""
    return "not finished" if count == 1 else f"{unfinished} of {count} shards not finished"


def _find_failures(folder: Path) -> list[str]:
    """Return why the latest start of each of the job's shards failed, where it did."""
    latest = {start.name.rpartition("_")[2]: start for start in _read_starts(folder)}
    files = [start / FAILURE for start in latest.values()]
    # A disk that was full has kept no word of it.
    return [file.read_text(encoding="utf-8") or "failed" for file in files if file.exists()]


def _mean(values: Iterable[float]) -> float | None:
    numbers = list(values)
    return sum(numbers) / len(numbers) if numbers else None
