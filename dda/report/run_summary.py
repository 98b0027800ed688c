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
    styles = Counter(row.style for row in done)
    _add_counts(table, "Styles", [(str(count), style) for style, count in styles.most_common()])
    for status in ("rejected", "failed"):
        _add_counts(table, status.capitalize(), _group_reasons([row for row in rows if row.status == status]))
    return table


def _group_reasons(rows: Sequence[PairRow]) -> list[tuple[str, str]]:
    """Return how many pictures gave no pair, and pairs where their number is another, by the kind of reason."""
    by_kind: dict[str, list[PairRow]] = {}
    for row in rows:
        by_kind.setdefault(row.reason.partition(":")[0], []).append(row)
    counts = []
    for kind, group in sorted(by_kind.items(), key=lambda item: -len(item[1])):
        pictures, reasons = len({row.path for row in group}), {row.reason for row in group}
        count = f"{pictures} picture{'s' * (pictures != 1)}"
        if len(group) != pictures:
            count += f", {len(group)} pairs"
        counts.append((count, reasons.pop() if len(reasons) == 1 else kind))
    return counts


def _add_counts(table: Table, label: str, counts: Sequence[tuple[str, str]]) -> None:
    shown = list(counts[:_MAX_LISTED])
    if rest := len(counts) - len(shown):
        shown.append((f"{rest} more", "in the journal"))
    width = max((len(count) for count, _ in shown), default=0)
    if shown:
        table.add_row(label, Text("\n".join(f"{count:>{width}}  {name}" for count, name in shown)))
