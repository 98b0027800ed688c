"""What an evaluation found: the numbers of every pair and of the set, as files and report show them."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dda.metrics.metric import PREFIXES, Column

if TYPE_CHECKING:
    from dda.evaluation.verdict import Verdict

METRICS_NAME = "metrics.json"
"""The file that `metrics_json` is written to, the last one of an evaluation."""

PAIRS_NAME = "pairs.parquet"
"""The file that `pairs_table` is written to."""

SCHEMA_VERSION = 1


@dataclass
class PairResult:
    """One pair, measured or rejected.

    Attributes:
        name: relative path of the source without its suffix (of the target where there is no source); unique.
        status: "ok"; "rejected": a file is missing, unmatched, unreadable, the sizes differ, or the parser found the
            device's memory full.
        reason: why, in one short line; empty when ok.
        style: name of its style; empty when unknown.
        face: whose face it is, the content hash of the source; empty when the source was not read.
        source_path, target_path, oracle_path: the files as given, empty where there is none.
        numbers: by full name of the column (:attr:`Column.full_name`); NaN where a metric does not apply (no face, or
            not in this region). What was noted when the pair was composed is among them, as "made_...".
        thumbnails: JPEG bytes by "source", "target" and "oracle", longer side 256 pixels; only of the first
            `dda.evaluation.evaluator.MAX_THUMBNAILS` pairs and of those that the report names as best and worst.
    """

    name: str
    status: str
    reason: str = ""
    style: str = ""
    face: str = ""
    source_path: str = ""
    target_path: str = ""
    oracle_path: str = ""
    numbers: dict[str, float] = field(default_factory=dict)
    thumbnails: dict[str, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Statistic:
    """A column over the pairs it applies to: mean, standard deviation, 95 % interval [low, high] of the mean.

    What is not known is NaN: the interval where there are few people, see `dda.evaluation.bootstrap`.
    """

    mean: float
    sd: float
    low: float
    high: float
    count: int


@dataclass
class Result:
    """An evaluation: what metrics.json holds, what report.html shows and what the terminal prints.

    Attributes:
        title: name of the run or folder.
        pairs_root, oracle_root: the folders that were measured; oracle_root is None without an oracle.
        created: time in ISO 8601, UTC.
        columns: of the pairs, by full name, of every comparison; those with the oracle only where there is one.
        pairs: every pair chosen, rejected ones too.
        statistics: of each column over the pairs, by full name.
        by_style: style to full name to statistic; empty where no style is known.
        set_values, set_columns: numbers of the set as a whole, by name.
        missing: metric to the reason why it was not measured.
        verdicts: what the numbers mean, worst first.
        best_worst: full name to the names of up to four pairs at the two ends of the column:
            {"best": [...], "worst": [...]}, or {"lowest": [...], "highest": [...]} where neither end is better.
    """

    title: str
    pairs_root: str
    oracle_root: str | None
    created: str
    columns: dict[str, Column]
    pairs: list[PairResult]
    statistics: dict[str, Statistic]
    by_style: dict[str, dict[str, Statistic]]
    set_values: dict[str, float]
    set_columns: dict[str, Column]
    missing: dict[str, str]
    verdicts: list["Verdict"]
    best_worst: dict[str, dict[str, list[str]]]

    @property
    def measured(self) -> list[PairResult]:
        """The pairs that are not rejected."""
        return [pair for pair in self.pairs if pair.status == "ok"]

    @property
    def rejected(self) -> list[PairResult]:
        """The pairs that could not be measured."""
        return [pair for pair in self.pairs if pair.status != "ok"]

    def columns_of(self, comparison: str) -> list[Column]:
        """Return the columns of one comparison, a key of `PREFIXES`."""
        return [column for column in self.columns.values() if column.comparison == comparison]

    def statistic(self, column: Column, comparison: str | None = None) -> Statistic | None:
        """Return the statistic of a column, or of the same number of another comparison; None where there is none."""
        return self.statistics.get((column.compared(comparison) if comparison else column).full_name)


JSON_PARTS = {
    "overall": "target",
    "baseline": "untouched",
    "against_oracle": "oracle",
    "untouched_against_oracle": "untouched_oracle",
}
"""The parts of metrics.json, by the comparison whose statistics each holds."""


def metrics_json(result: Result) -> bytes:
    """Return the set's numbers as JSON, schema version 1; NaN and infinities, which JSON lacks, are null.

    The numbers of each pair are not in it but in pairs.parquet; rejected pairs are, each with its reason.
    """
    counts = Counter(pair.status for pair in result.pairs)
    styles = Counter(pair.style for pair in result.measured if pair.style)
    content = {
        "schema_version": SCHEMA_VERSION,
        "title": result.title,
        "created": result.created,
        "pairs_root": result.pairs_root,
        "oracle_root": result.oracle_root,
        "pairs": {"ok": counts["ok"], "rejected": counts["rejected"], "by_style": dict(styles)},
        "rejected": [{"name": pair.name, "reason": pair.reason} for pair in result.rejected],
        "verdicts": [asdict(verdict) for verdict in result.verdicts],
        "columns": _column_dicts(result.columns_of("target")),
        "oracle_columns": _column_dicts(result.columns_of("oracle")),
        "set_columns": _column_dicts(result.set_columns.values()),
        **{part: _statistic_dicts(result, result.statistics, comparison) for part, comparison in JSON_PARTS.items()},
        "by_style": {style: _statistic_dicts(result, table, "target") for style, table in result.by_style.items()},
        "oracle_by_style": {
            style: _statistic_dicts(result, table, "oracle") for style, table in result.by_style.items()
        },
        "set_values": result.set_values,
        "missing": result.missing,
        "best_worst": result.best_worst,
    }
    text = json.dumps(_replace_nonfinite(content), indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8", "backslashreplace")


def pairs_table(result: Result) -> pa.Table:
    """Return the numbers of every pair, a row each, null where a pair has no such number.

    The columns are grouped by comparison, in the order of `PREFIXES`.
    """
    texts = ("name", "status", "reason", "style", "face", "source_path", "target_path", "oracle_path")
    columns = {
        name: pa.array([_escape_text(getattr(pair, name)) for pair in result.pairs], pa.string()) for name in texts
    }
    names = dict.fromkeys(name for pair in result.pairs for name in pair.numbers)
    noted = [name for name in names if name.startswith(PREFIXES["made"])]
    known = [column.full_name for comparison in PREFIXES for column in result.columns_of(comparison)]
    for name in dict.fromkeys([*(name for name in known if name in names), *noted, *names]):
        columns[name] = pa.array([pair.numbers.get(name) for pair in result.pairs], pa.float64())
    return pa.table(columns)


def _column_dicts(columns: Iterable[Column]) -> dict[str, dict[str, Any]]:
    return {
        column.name: {key: value for key, value in asdict(column).items() if key != "comparison"} for column in columns
    }


def _statistic_dicts(result: Result, table: Mapping[str, Statistic], comparison: str) -> dict[str, dict[str, Any]]:
    columns = result.columns_of(comparison)
    return {column.name: asdict(table[column.full_name]) for column in columns if column.full_name in table}


def _replace_nonfinite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _replace_nonfinite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_nonfinite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _escape_text(value: str) -> str:
    # Arrow takes valid UTF-8 alone; a file name that is not shows its odd bytes as \udcNN.
    return value.encode("utf-8", "backslashreplace").decode()
