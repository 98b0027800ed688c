"""The comparison of jobs that a sweep ends with: a table of their numbers and a sheet of the same faces."""

import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rich.table import Table
from rich.text import Text

from dda.console import CONSOLE, print_line
from dda.files import write_atomically
from dda.images import read_image
from dda.pairs.journal import PairRow
from dda.pairs.run_files import DATA_FOLDER
from dda.pairs.writer import pair_exists
from dda.png import encode_png
from dda.report.samples import GridRow, comparison
from dda.sweep.jobs import Job

TABLE_NAME = "sweep_summary.csv"
SHEET_NAME = "sweep_summary.png"

_MAX_FACES = 6  # rows of the sheet
# What leaves a column of the printed table out when all jobs have it.
_HIDDEN_VALUES = {"rejected": (0,), "failed": (0,)}


def compare(jobs: Sequence[Job], sweep: Path) -> None:
    """Print the table of jobs; write it and the sheet into the folder of their sweep, unless no job made a pair."""
    CONSOLE.print(summary_table(jobs))
    for job in jobs:
        if job.problem:
            print_line(f"{job.folder.name}: {job.problem}", "red")
    if any(job.made for job in jobs):
        where = Path(os.path.relpath(sweep))
        write_atomically(sweep / TABLE_NAME, summary_csv(jobs))
        faces = shared_faces(jobs)
        if any(faces.values()):  # none whose pictures have been deleted
            sheet = comparison(faces, {job.folder.name: job.label for job in jobs})
            write_atomically(sweep / SHEET_NAME, encode_png(sheet))
            print_line(f"Look at   {where / SHEET_NAME}")
        print_line(f"Table in  {where / TABLE_NAME}")


def summary_csv(jobs: Sequence[Job]) -> bytes:
    """Return one line for each job: its settings, its problem, its numbers with six digits."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["job", *jobs[0].settings, "problem", *jobs[0].numbers()])
    for job in jobs:
        numbers = ["" if value is None else f"{value:.6g}" for value in job.numbers().values()]
        writer.writerow([job.folder.name, *job.settings.values(), job.problem, *numbers])
    return text.getvalue().encode("utf-8", "backslashreplace")


def summary_table(jobs: Sequence[Job]) -> Table:
    """Return the same for rich to print, with short settings and without columns that are all 0 or empty."""
    numbers = [job.numbers() for job in jobs]
    telling = [
        name for name in numbers[0] if any(row[name] not in _HIDDEN_VALUES.get(name, (None,)) for row in numbers)
    ]
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("job", style="bold", vertical="top")
    table.add_column("where jobs differ" if jobs[0].settings else "", overflow="fold")
    for name in telling:
        table.add_column(name.replace("_", "\n"), justify="right")
    for job, row in zip(jobs, numbers, strict=True):
        settings = job.label.replace("\n", "  ") if job.settings else ""
        table.add_row(*map(Text, (job.folder.name, settings, *(_format_cell(name, row[name]) for name in telling))))
    return table


def _format_cell(name: str, value: float | None) -> str:
    if value is None:
        return ""
    if name in ("raw_leakage", "mask_share"):
        return f"{value:.1%}"
    return f"{value:.4f}" if name == "makeup_change" else f"{value:.4g}"


def shared_faces(jobs: Sequence[Job]) -> dict[str, list[GridRow]]:
    """Return the rows of the sheet, by style: the faces that most jobs have, up to six.

    Where jobs painted the same faces in the same styles those are compared, otherwise the same faces whatever the
    style, under an empty label.
    """
    there = [replace(job, rows=[row for row in job.made if pair_exists(job.folder, row.name)]) for job in jobs]
    pairs = _choose_shared(there, lambda row: (row.path, row.face, row.style))
    faces = _choose_shared(there, lambda row: (row.path, row.face))
    same_style = _max_group_size(pairs) >= _max_group_size(faces) and len(pairs) >= min(3, len(faces))
    folders = {job.folder.name: job.folder / DATA_FOLDER for job in jobs}
    blocks: dict[str, list[GridRow]] = {}
    for made in pairs if same_style else faces:
        job, row = next(iter(made.items()))
        targets = {job: read_image(folders[job] / "target" / row.name) for job, row in made.items()}
        label = row.style if same_style else ""
        blocks.setdefault(label, []).append(GridRow(read_image(folders[job] / "source" / row.name), targets))
    return blocks if len(blocks) > 1 else {"": [row for rows in blocks.values() for row in rows]}


def _choose_shared(jobs: Sequence[Job], key: Callable[[PairRow], Hashable]) -> list[dict[str, PairRow]]:
    """Choose pairs that are alike by `key`, one of each job: six groups or fewer, as varied as can be."""
    groups: dict[Hashable, dict[str, PairRow]] = {}
    for job in jobs:
        for row in job.made:
            groups.setdefault(key(row), {}).setdefault(job.folder.name, row)
    reach = _max_group_size(groups.values())
    rest = [group for group in groups.values() if 2 * len(group) > reach]
    chosen: list[dict[str, PairRow]] = []
    seen: Counter[str] = Counter()
    while rest and len(chosen) < _MAX_FACES:
        best = min(rest, key=lambda group: (-len(group), *(seen[trait] for trait in _traits(group))))
        rest.remove(best)
        chosen.append(best)
        seen.update(_traits(best))
    return chosen


def _traits(group: Mapping[str, PairRow]) -> tuple[str, str, str]:
    """Return what the rows of the sheet should vary in: the jobs that have it, the picture, the style."""
    row = next(iter(group.values()))
    return "/".join(group), row.path, row.style


def _max_group_size(groups: Iterable[Mapping[str, PairRow]]) -> int:
    return max(map(len, groups), default=0)
