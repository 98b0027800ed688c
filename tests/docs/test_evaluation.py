"""docs/evaluation.md says of every metric what the code says."""

import math
import re

import torch

from dda.evaluation.metric_suite import MetricSuite
from dda.evaluation.verdict import (
    MAX_EDIT_OFFSET_PX,
    MAX_LEAKAGE,
    MAX_STRENGTH_DELTA_E,
    MIN_ALIGNED_STRUCTURE,
    MIN_DETAIL_KEPT,
    MIN_IDENTITY_COSINE,
    MIN_PAIR_STRUCTURE,
    MIN_SEPARABILITY,
    MIN_VISIBLE_DELTA_E,
)
from dda.metrics.metric import Column
from dda.metrics.registry import NAMES, SET_METRICS
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| `")]


def find_row(name: str) -> list[str]:
    return next(row for row in ROWS if f"`{name}`" in row[0] and len(row) == 6)


def describe_range(column: Column) -> str:
    ends = (f"{end:g}" if math.isfinite(end) else "-inf" if end < 0 else "inf" for end in (column.low, column.high))
    return " to ".join(ends)


def test_every_metric_of_pairs_is_described() -> None:
    suite = MetricSuite(None, torch.device("cpu"))
    columns = [column for column in suite.columns.values() if column.comparison == "target"]
    assert len(columns) > 10
    for column in columns:
        _, unit, allowed, better, *_ = find_row(column.name)
        assert (unit, allowed, better) == (column.unit, describe_range(column), column.better), column.name
    for name in suite.oracle_columns:
        assert f"`{name}`" in PAGE or name.startswith("untouched_"), name


def test_every_name_that_metrics_takes_is_on_the_page() -> None:
    columns = {"background": "background_error", "detail": "detail_kept"}
    for name in NAMES:
        assert re.search(rf"`{columns.get(name, name)}( STYLE)?`", PAGE), name
    for name in SET_METRICS:
        assert name == "skin_tone" or len(find_row(name if name != "consistency" else "consistency STYLE")) == 6


def test_the_thresholds_of_the_verdicts_are_the_codes() -> None:
    eyes, lips, skin, brows = (MAX_STRENGTH_DELTA_E[region] for region in ("eyes", "lips", "skin", "brows"))
    for condition in (
        f"`structure` below {MIN_PAIR_STRUCTURE:g}",
        f"`structure` below {MIN_ALIGNED_STRUCTURE:g}",
        f"`identity` below {MIN_IDENTITY_COSINE:g}",
        f"every region's strength below {MIN_VISIBLE_DELTA_E:g} dE00",
        f"strength above {eyes:g} (eyes), {lips:g} (lips), {skin:g} (skin) or {brows:g} (brows) dE00",
        f"`leakage` above {MAX_LEAKAGE:g}",
        f"median of `edit_offset` over the set above {MAX_EDIT_OFFSET_PX:g} px",
        f"`detail_kept` below {MIN_DETAIL_KEPT:g}",
        f"`separability` of the set below {MIN_SEPARABILITY:g}",
    ):
        assert condition in PAGE, condition
