"""Evaluations side by side: what a multirun of run_eval.py ends with."""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from dda.console import CONSOLE, print_line
from dda.evaluation.result import METRICS_NAME
from dda.files import write_atomically
from dda.metrics.labels import column_label, count_decimals, format_number
from dda.sweep.comparison import TABLE_NAME

# What is printed, of the measures that were taken; the file has them all.
_PRINTED_METRICS = (
    "strength", "leakage", "background_error", "detail_kept", "oracle_psnr_face", "untouched_oracle_psnr_face",
)  # fmt: skip
_VERDICT_STYLES = {"bad": "bold red", "warn": "yellow"}


def compare(evaluations: Mapping[str, Path], folder: Path) -> None:
    """Print the main numbers of finished evaluations by name, and write all of them to sweep_summary.csv in `folder`.

    Args:
        evaluations: their folders by what to call them.
        folder: where the table goes.
    """
    results = {
        name: json.loads((path / METRICS_NAME).read_text(encoding="utf-8")) for name, path in evaluations.items()
    }
    write_atomically(folder / TABLE_NAME, summary_csv(results))
    CONSOLE.print(summary_table(results))
    for name, result in results.items():
        for verdict in result["verdicts"]:
            if verdict["level"] in _VERDICT_STYLES:
                print_line(f"{name}: {verdict['text']}", _VERDICT_STYLES[verdict["level"]])
    print_line(f"Table in  {os.path.relpath(folder / TABLE_NAME)}")


def summary_csv(results: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Return one line for each evaluation (metrics.json, by name): the means of its metrics, with six digits."""
    means = {name: _collect_means(result) for name, result in results.items()}
    measures = list(dict.fromkeys(measure for row in means.values() for measure in row))
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["evaluation", "pairs_root", "ok", "rejected", *measures])
    for name, result in results.items():
        numbers = ["" if (value := means[name].get(measure)) is None else f"{value:.6g}" for measure in measures]
        writer.writerow([name, result["pairs_root"], result["pairs"]["ok"], result["pairs"]["rejected"], *numbers])
    return text.getvalue().encode("utf-8", "backslashreplace")


def summary_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the main metrics for rich to print, a row for each evaluation."""
    means = {name: _collect_means(result) for name, result in results.items()}
    taken = [name for row in means.values() for name, mean in row.items() if mean is not None]
    shown = [name for name in _PRINTED_METRICS if name in taken] or list(dict.fromkeys(taken))[: len(_PRINTED_METRICS)]
    columns = [_format_column([row.get(measure) for row in means.values()]) for measure in shown]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="")
    table.add_column("evaluation", style="bold", overflow="fold")
    for heading in ("pairs", *map(column_label, shown)):  # where it is narrow, names are folded before words are
        table.add_column(heading, justify="right", min_width=max(map(len, heading.split())))
    for (name, result), *cells in zip(results.items(), *columns, strict=True):
        table.add_row(Text(name), str(result["pairs"]["ok"]), *cells)
    return table


def _format_column(values: Sequence[float | None]) -> list[str]:
    decimals = count_decimals([value for value in values if value is not None], "")
    return ["" if value is None else format_number(value, decimals) for value in values]


def _collect_means(result: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the means of targets and of untouched sources, and the set's metrics; None where one does not apply."""
    parts = {
        "": "overall",
        "untouched_": "baseline",
        "oracle_": "against_oracle",
        "untouched_oracle_": "untouched_against_oracle",
    }
    means = {
        f"{prefix}{name}": statistic["mean"]
        for prefix, part in parts.items()
        for name, statistic in result[part].items()
    }
    return means | result["set_values"]
