"""An evaluation as one table for the terminal."""

import math
from collections import Counter
from collections.abc import Iterator

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from dda.evaluation.result import Result, Statistic
from dda.metrics.labels import column_label, count_decimals, format_number, unit_label
from dda.metrics.metric import Column

_ARROWS = {"higher": " ↑", "lower": " ↓", "zero": " → 0", "band": "", "none": ""}
_STYLES = {"bad": "bold red", "warn": "yellow", "good": "green", "none": "bold"}
_MAX_LISTED = 8

UNKNOWN = Statistic(math.nan, math.nan, math.nan, math.nan, 0)
"""The statistic of a column that was not measured."""


def result_table(result: Result) -> Group:
    """Return the metrics and the verdicts, to be printed by rich; the untouched source stands beside.

    It fits 80 columns: the standard deviations are in metrics.json alone.
    """
    return Group(_make_table(result), *_list_notes(result))


def _make_table(result: Result) -> Table:
    count = len(result.measured)
    title = Text(f"{result.title}: {count} pair{'s' * (count != 1)}", style="bold")
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("Measure", overflow="fold")
    for heading in ("Target", "95 % of\nthe mean", "Untouched\nsource", "Light less\ndark skin"):
        table.add_column(heading, justify="right", no_wrap=True)
    for comparison, untouched in (("target", "untouched"), ("oracle", "untouched_oracle")):
        columns = result.columns_of(comparison)
        if columns and comparison == "oracle":
            table.add_section()
            table.add_row(Text("Against the oracle", style="bold"))
        for column in columns:
            gap = result.set_values.get(f"tone_gap_{column.full_name}")
            table.add_row(*_row(column, result.statistic(column), result.statistic(column, untouched), gap))
    of_the_set = {name: column for name, column in result.set_columns.items() if not name.startswith("tone_")}
    if of_the_set:
        table.add_section()
        table.add_row(Text("Of the set", style="bold"))
    for name, column in of_the_set.items():
        value = result.set_values[name]
        table.add_row(_name(column), format_number(value, count_decimals([value], column.unit)))
    return table


def _row(
    column: Column, ours: Statistic | None, untouched: Statistic | None, tone_gap: float | None
) -> tuple[Text | str, ...]:
    ours, untouched = ours or UNKNOWN, untouched or UNKNOWN
    decimals = count_decimals([ours.mean, untouched.mean], column.unit)
    low, high = format_number(ours.low, decimals), format_number(ours.high, decimals)
    return (
        _name(column),
        format_number(ours.mean, decimals),
        f"{low} to {high}" if ours.low < ours.high else "",
        format_number(untouched.mean, decimals),
        "" if tone_gap is None else format_number(tone_gap, decimals),
    )


def _name(column: Column) -> Text:
    unit = f" ({unit_label(column.unit)})" if column.unit else ""
    return Text(f"{column_label(column.name)}{unit}{_ARROWS[column.better]}")


def _list_notes(result: Result) -> Iterator[Text]:
    rejected = Counter(pair.reason for pair in result.rejected)
    for reason, count in rejected.most_common(_MAX_LISTED):
        yield Text(f"Rejected {count}: {reason}")
    if len(rejected) > _MAX_LISTED:
        yield Text(f"Rejected for other reasons, told in pairs.parquet: {len(rejected) - _MAX_LISTED} kinds")
    if result.missing:
        names = ", ".join(map(column_label, result.missing))
        reasons = set(result.missing.values())
        why = f": {reasons.pop()}" if len(reasons) == 1 else "; the report says why and what to do"
        yield Text(f"Not measured: {names}{why}", style="dim")
    for verdict in result.verdicts:
        yield Text(verdict.text, style=_STYLES[verdict.level])
