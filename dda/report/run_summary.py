"""The closing summary of a run on the terminal."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from dda.console import CONSOLE, print_line
from dda.pairs.journal import PairRow
from dda.pairs.run_files import DATA_FOLDER
from dda.report.samples import SAMPLES_NAME

_MAX_LISTED = 8  # styles, or reasons, in the closing summary


def print_run_summary(rows: Sequence[PairRow], made_now: int, seconds: float, run_dir: Path, drawn: bool) -> None:
    """Print the closing summary of a run, and where its pairs are and its figure, if that was drawn."""
    CONSOLE.print(summary_table(rows, made_now, seconds))
    data = Path(os.path.relpath(run_dir / DATA_FOLDER))
    if any(row.status == "ok" for row in rows):
        print_line(f"Pairs are in  {data}")
    if drawn:
        print_line(f"Look at       {data / SAMPLES_NAME}")


def summary_table(rows: Sequence[PairRow], made_now: int, seconds: float) -> Table:
    """Return the closing summary of a run, to be printed by rich.

    Args:
        rows: what the journal says of every pair tried, in this process or before.
        made_now: pairs finished by this process.
        seconds: what those took.
    """
    done = [row for row in rows if row.status == "ok"]
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True, min_width=len("Pairs are in"))
    table.add_column(overflow="fold")
    speed = f" ({made_now / seconds:.1f} a second)" if made_now else ""
    table.add_row("Pairs", f"{made_now} made now{speed}, {len(done)} in all")
    _add_counts(table, "Styles", Counter(row.style for row in done))
    for status in ("rejected", "failed"):
        _add_counts(table, status.capitalize(), Counter(row.reason for row in rows if row.status == status))
    return table


def _add_counts(table: Table, label: str, counts: Counter[str]) -> None:
    named = counts.most_common(_MAX_LISTED)
    if rest := counts.total() - sum(count for _, count in named):
        named.append(("others, told in the journal", rest))
    width = max((len(str(count)) for _, count in named), default=0)
    lines = [f"{count:>{width}}  {name}" for name, count in named]
    if lines:
        table.add_row(label, Text("\n".join(lines)))
