"""The report of an evaluation as one HTML file that opens from the disk and asks no one for anything.

Style sheet, script, plots and thumbnails are all inside it. Its content security policy lets the browser load
nothing but pictures from ``data:`` and run nothing but the one script and style sheet of this package, by their hash.
"""

import base64
import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib import resources
from typing import Any

import jinja2
import numpy as np
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from dda.evaluation.result import PairResult, Result, Statistic
from dda.metrics.labels import column_label, count_decimals, format_number, unit_label
from dda.metrics.metric import Column
from dda.png import encode_png

REPORT_NAME = "report.html"

_ASSETS = resources.files("dda") / "assets" / "report"
_DIRECTIONS = {
    "higher": {"short": "↑ higher", "about": "Higher is better"},
    "lower": {"short": "↓ lower", "about": "Lower is better"},
    "band": {"short": "↔ band", "about": "Best inside a band: neither too little nor too much"},
    "zero": {"short": "→ 0", "about": "Should be 0"},
    "none": {"short": "–", "about": "It describes; neither end is better"},
}
_HEADLINES = {
    "bad": "These pairs are not fit for training as they are",
    "warn": "Look closer before training on these pairs",
    "good": "No fault found in these pairs",
    "none": "No verdict: nothing that it goes by was measured",
}
_LEVEL_WORDS = {"bad": "Fault", "warn": "Warning", "good": "Good", "none": "Not judged"}
_LEVELS = ("bad", "warn", "good", "none")  # worst first
_PLOT_KINDS = {"strength": "wide", "skin": "half", "distribution": "third"}


def html_report(result: Result, plots: Mapping[str, np.ndarray]) -> bytes:
    """Return the report as a page, UTF-8 encoded.

    Args:
        result: what was measured; pairs carry their thumbnails.
        plots: figures by file name without suffix, uint8 (H, W, 3), as `dda.report.plots.draw_plots` draws them.
    """
    css, script = _read_asset("report.css"), _read_asset("report.js")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.from_string(_read_asset("report.html.j2")).render(
        policy=_make_security_policy(css, script),
        css=Markup(css),
        script=Markup(script),
        data=htmlsafe_json_dumps(_make_script_data(result)),  # as <script> cannot be left: < > & ' are written \u00XX
        title=result.title,
        created=f"Measured {_format_time(result.created)}.",
        facts=_list_facts(result),
        pairs_root=result.pairs_root,
        oracle_root=result.oracle_root,
        verdict=_describe_verdicts(result),
        directions=_DIRECTIONS,
        summary=_make_summary_rows(result, "target", "untouched"),
        oracle=_make_summary_rows(result, "oracle", "untouched_oracle"),
        set_values=[
            _describe_column(column) | {"value": _format_set_value(result, name)}
            for name, column in result.set_columns.items()
            if not name.startswith(("tone_gap_", "tone_rank_"))
        ],
        skin_tones=_make_skin_tone_rows(result),
        missing=[(column_label(name), reason) for name, reason in result.missing.items()],
        legend=[_describe_column(column) for column in result.columns_of("target")],
        by_style=_make_style_table(result),
        plots=[_describe_plot(name, picture) for name, picture in plots.items()],
    )
    return page.encode("utf-8", "backslashreplace")  # a file name may hold bytes that are no valid text


def _read_asset(name: str) -> str:
    return (_ASSETS / name).read_text("utf-8")


def _make_security_policy(css: str, script: str) -> str:
    return "; ".join(
        [
            "default-src 'none'",
            "img-src data:",
            f"style-src '{_hash_source(css)}'",
            f"script-src '{_hash_source(script)}'",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def _hash_source(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _list_facts(result: Result) -> list[str]:
    styles = Counter(pair.style for pair in result.measured if pair.style)
    faces = {pair.face for pair in result.measured}
    facts = [_format_count(len(result.measured), "pair") + " measured"]
    if result.rejected:
        facts.append(f"{len(result.rejected)} rejected")
    if styles:
        facts.append(_format_count(len(styles), "style"))
    return [*facts, _format_count(len(faces), "face")]


def _format_count(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def _format_time(created: str) -> str:
    return f"{datetime.fromisoformat(created):%Y-%m-%d %H:%M} UTC"


def _describe_verdicts(result: Result) -> dict[str, Any]:
    found = sorted(result.verdicts, key=lambda verdict: _LEVELS.index(verdict.level))
    level = found[0].level if found else "none"
    findings = [
        {"level": verdict.level, "word": _LEVEL_WORDS[verdict.level], "text": verdict.text} for verdict in found
    ]
    return {"level": level, "headline": _HEADLINES[level], "findings": findings}


def _describe_column(column: Column) -> dict[str, str]:
    low, high = (f"{end:g}" if math.isfinite(end) else format_number(end, 0) for end in (column.low, column.high))
    return {
        "label": column_label(column.name),
        "unit": unit_label(column.unit),
        "better": column.better,
        "about": column.about,
        "weights": column.weights,
        "range": f"{low} to {high}",
    }


def _make_summary_rows(result: Result, comparison: str, untouched: str) -> list[dict[str, Any]]:
    return [
        _make_summary_row(column, result.statistic(column), result.statistic(column, untouched))
        for column in result.columns_of(comparison)
    ]


def _make_summary_row(column: Column, ours: Statistic | None, untouched: Statistic | None) -> dict[str, Any]:
    decimals = count_decimals((statistic.mean for statistic in (ours, untouched) if statistic), column.unit)
    return _describe_column(column) | {
        "ours": _format_estimate(ours, decimals),
        "baseline": _format_estimate(untouched, decimals),
        "count": ours.count if ours else 0,
    }


def _format_estimate(statistic: Statistic | None, decimals: int) -> dict[str, str] | None:
    """Return mean and interval as text; no interval where it is a point, but for rounding, or unknown."""
    if statistic is None or math.isnan(statistic.mean):
        return None
    low, high = statistic.low, statistic.high
    known = math.isfinite(low) and math.isfinite(high) and high - low > 1e-6
    interval = f"{format_number(low, decimals)} to {format_number(high, decimals)}" if known else ""
    return {"mean": format_number(statistic.mean, decimals), "interval": interval}


def _format_set_value(result: Result, name: str) -> str:
    value = result.set_values[name]
    return format_number(value, count_decimals([value], result.set_columns[name].unit))


def _make_skin_tone_rows(result: Result) -> list[dict[str, str]]:
    """Return a row for each metric: its gap over skin tones, and its rank correlation with them."""
    names = [name.removeprefix("tone_gap_") for name in result.set_columns if name.startswith("tone_gap_")]
    ranks = {name: result.set_values.get(f"tone_rank_{name}", math.nan) for name in names}
    return [
        _describe_column(result.set_columns[f"tone_gap_{name}"])
        | {
            "label": column_label(name),
            "gap": _format_set_value(result, f"tone_gap_{name}"),
            "rank": format_number(ranks[name], count_decimals(ranks.values(), "")),
        }
        for name in names
    ]


def _make_style_table(result: Result) -> dict[str, Any]:
    counts = Counter(pair.style for pair in result.measured)
    tables = list(result.by_style.values())
    rows = []
    for comparison, untouched in (("target", "untouched"), ("oracle", "untouched_oracle")):
        for column in result.columns_of(comparison):
            row = _make_style_row(
                column, [table.get(column.full_name) for table in tables], result.statistic(column, untouched)
            )
            rows.append(row | {"label": column_label(column.full_name)})
    return {"styles": [{"name": style, "count": counts[style]} for style in result.by_style], "rows": rows}


def _make_style_row(
    column: Column, of_styles: Sequence[Statistic | None], untouched: Statistic | None
) -> dict[str, Any]:
    decimals = count_decimals((statistic.mean for statistic in (*of_styles, untouched) if statistic), column.unit)
    cells = [_format_estimate(statistic, decimals) for statistic in of_styles]
    return _describe_column(column) | {"cells": cells, "untouched": _format_estimate(untouched, decimals)}


def _describe_plot(name: str, picture: np.ndarray) -> dict[str, Any]:
    kind, _, rest = name.partition("_")
    if kind == "distribution":
        caption = f"{column_label(rest)} by style"
    elif name.startswith("skin_tone_"):
        caption = f"{column_label(name.removeprefix('skin_tone_'))} by skin tone of the source"
    else:
        caption = column_label(name)
    return {
        "kind": _PLOT_KINDS[kind],
        "caption": caption,
        "uri": "data:image/png;base64," + base64.b64encode(encode_png(picture)).decode(),
        "height": picture.shape[0] // 2,
        "width": picture.shape[1] // 2,
    }


# --- What the script shows -------------------------------------------------------------------------------


def _make_script_data(result: Result) -> dict[str, Any]:
    """Return everything about single pairs, for JSON; every picture is in it once, however many pairs share it."""
    pictures: dict[bytes, int] = {}
    for pair in result.pairs:
        for jpeg in pair.thumbnails.values():
            pictures.setdefault(jpeg, len(pictures))
    return {
        "columns": [_describe_script_column(column, result) for column in result.columns_of("target")],
        "oracle_columns": [_describe_script_column(column, result) for column in result.columns_of("oracle")],
        "pairs": [_describe_pair(pair, result, pictures) for pair in result.pairs],
        "pictures": [base64.b64encode(jpeg).decode() for jpeg in pictures],
        "best_worst": result.best_worst,
    }


def _describe_script_column(column: Column, result: Result) -> dict[str, Any]:
    values = (pair.numbers.get(column.full_name, math.nan) for pair in result.measured)
    statistic = result.statistic(column)
    return {
        "key": column.full_name,
        "label": column_label(column.name),
        "unit": unit_label(column.unit),
        "about": f"{column.about} {_DIRECTIONS[column.better]['about']}.",
        "digits": count_decimals(values, column.unit),
        "mean": _to_json_number(statistic.mean if statistic else math.nan),
    }


def _describe_pair(pair: PairResult, result: Result, pictures: Mapping[bytes, int]) -> dict[str, Any]:
    paths = {"source": pair.source_path, "target": pair.target_path, "oracle": pair.oracle_path}
    return {
        "name": pair.name,
        "status": pair.status,
        "reason": pair.reason,
        "style": pair.style,
        "paths": {side: path for side, path in paths.items() if path},
        "values": _list_numbers(pair, result, "target"),
        "baseline": _list_numbers(pair, result, "untouched"),
        "against_oracle": _list_numbers(pair, result, "oracle"),
        "untouched_against_oracle": _list_numbers(pair, result, "untouched_oracle"),
        "pictures": {side: pictures[jpeg] for side, jpeg in pair.thumbnails.items()},
    }


def _list_numbers(pair: PairResult, result: Result, comparison: str) -> list[float | str | None]:
    """Return the numbers of one comparison in the order of its columns; none where a pair has no oracle."""
    names = [column.full_name for column in result.columns_of(comparison)]
    if comparison in ("oracle", "untouched_oracle") and not any(name in pair.numbers for name in names):
        return []
    return [_to_json_number(pair.numbers.get(name, math.nan)) for name in names]


def _to_json_number(value: float) -> float | str | None:
    """Return a number for JSON, which has neither NaN (null) nor infinities (a string that Number() reads)."""
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return float(f"{value:.6g}")
