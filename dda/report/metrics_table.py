"""The table of an evaluation for the terminal."""

import math
from collections import Counter
from collections.abc import Iterator

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from dda.evaluation.result import Result, Statistic
from dda.metrics.labels import count_decimals, format_column, format_number, format_unit
from dda.metrics.metric import Column

_ARROWS = {"higher": " ↑", "lower": " ↓", "zero": " → 0", "band": "", "none": ""}
_VERDICT_STYLES = {"bad": "bold red", "warn": "yellow", "good": "green", "none": "bold"}
_MAX_LISTED_REASONS = 8

UNMEASURED = Statistic(math.nan, math.nan, math.nan, math.nan, 0)
"""Statistic of a column that was not measured."""


def make_result_table(result: Result) -> Group:
    """Return the metrics of targets and untouched sources and the verdicts, for rich to print in 80 columns."""
    return Group(_make_table(result), *_list_notes(result))


def _make_table(result: Result) -> Table:
    count = len(result.measured)
    title = Text(f"{result.title}: {count} pair{'s' * (count != 1)}", style="bold")
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("Measure", overflow="fold")
    for heading in ("Target", "95 % of\nthe mean", "Untouched\nsource", "Light minus\ndark skin"):
        table.add_column(heading, justify="right", no_wrap=True)
    for comparison, untouched in (("target", "untouched"), ("oracle", "untouched_oracle")):
        columns = result.columns_of(comparison)
        if columns and comparison == "oracle":
            table.add_section()
            table.add_row(Text("Against the oracle", style="bold"))
        for column in columns:
            gap = result.set_values.get(f"tone_gap_{column.full_name}")
            table.add_row(*_format_row(column, result.statistic(column), result.statistic(column, untouched), gap))
    set_columns = {name: column for name, column in result.set_columns.items() if not name.startswith("tone_")}
    if set_columns:
        table.add_section()
        table.add_row(Text("The set as a whole", style="bold"))
    for name, column in set_columns.items():
        value = result.set_values[name]
        table.add_row(_label_column(column), format_number(value, count_decimals([value], column.unit)))
    return table


def _format_row(
    column: Column, ours: Statistic | None, untouched: Statistic | None, tone_gap: float | None
) -> tuple[Text | str, ...]:
    ours, untouched = ours or UNMEASURED, untouched or UNMEASURED
    decimals = count_decimals([ours.mean, untouched.mean], column.unit)
    low, high = format_number(ours.low, decimals), format_number(ours.high, decimals)
    return (
        _label_column(column),
        format_number(ours.mean, decimals),
        f"{low} to {high}" if ours.low < ours.high else "",
        format_number(untouched.mean, decimals),
        "" if tone_gap is None else format_number(tone_gap, decimals),
    )


def _label_column(column: Column) -> Text:
    unit = f" ({format_unit(column.unit)})" if column.unit else ""
    return Text(f"{format_column(column.name)}{unit}{_ARROWS[column.better]}")


def _list_notes(result: Result) -> Iterator[Text]:
    rejected = Counter(pair.reason for pair in result.rejected)
    for reason, count in rejected.most_common(_MAX_LISTED_REASONS):
        yield Text(f"Rejected {count}: {reason}")
    if len(rejected) > _MAX_LISTED_REASONS:
        yield Text(f"Rejected for {len(rejected) - _MAX_LISTED_REASONS} other reasons, which pairs.parquet lists")
    if result.missing:
        names = ", ".join(map(format_column, result.missing))
        reasons = list(result.missing_by_reason)
        explanation = f": {reasons[0]}" if len(reasons) == 1 else "; the report says why and what to do"
        yield Text(f"Not measured: {names}{explanation}", style="dim")
    for verdict in result.verdicts:
        yield Text(verdict.text, style=_VERDICT_STYLES[verdict.level])
