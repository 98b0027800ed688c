"""Result of an evaluation: the numbers of every pair and of the set, and the files that hold them."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dda.metrics.metric import COLUMN_PREFIXES, Column

if TYPE_CHECKING:
    from dda.evaluation.verdict import Verdict

METRICS_NAME = "metrics.json"
"""The file that `make_metrics_json` is written to, the last one of an evaluation."""

PAIRS_NAME = "pairs.parquet"
"""The file that `make_pairs_table` is written to."""

SCHEMA_VERSION = 1
"""Version of the keys of metrics.json."""


@dataclass
class PairResult:
    """One pair, measured or rejected.

    Attributes:
        name: relative path of the source without its suffix (of the target without a source); unique.
        status: "ok", or "rejected": a file is missing, unmatched or unreadable, the sizes differ, or the parser found
            the device's memory full.
        reason: why it was rejected, in one short line; empty when ok.
        style: name of its style; empty when unknown.
        face: whose face it is, the content hash of the source; empty when the source was not read.
        source_path, target_path, oracle_path: the files as given, empty without one.
        numbers: the values by full name of the column (:attr:`Column.full_name`), also those that the amplification
            measured ("made_..."); NaN where a metric does not apply (no face, or not in this region).
        thumbnails: JPEG bytes by "source", "target" and "oracle", of the first
            `dda.evaluation.evaluator.MAX_THUMBNAIL_PAIRS` pairs and of the best and worst ones.
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
    """A column over the pairs it applies to.

    Attributes:
        mean: NaN without a pair.
        sd: standard deviation; NaN for one pair.
        low, high: 95 % interval of the mean; NaN for few people, see `dda.evaluation.bootstrap`.
        count: number of pairs.
    """

    mean: float
    sd: float
    low: float
    high: float
    count: int


@dataclass
class Result:
    """An evaluation: what metrics.json holds, the report shows and the terminal prints.

    Attributes:
        title: name of the run or folder.
        pairs_root, oracle_root: the measured folders; oracle_root is None without an oracle.
        created: time in ISO 8601, UTC.
        columns: the columns of the pairs by full name, of every comparison; of the oracle only where pairs have one.
        pairs: every chosen pair, rejected ones too.
        statistics: each column over the pairs, by full name.
        by_style: the same by style; empty where no style is known.
        set_values, set_columns: the values of the set as a whole and their columns, by name.
        missing: name of each metric that was not measured, with the reason.
        verdicts: conclusions from the numbers, worst first.
        best_worst: by full name of a column, the names of up to four pairs at its two ends:
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
        """The measured pairs."""
        return [pair for pair in self.pairs if pair.status == "ok"]

    @property
    def rejected(self) -> list[PairResult]:
        """The pairs that could not be measured."""
        return [pair for pair in self.pairs if pair.status != "ok"]

    @property
    def missing_by_reason(self) -> dict[str, list[str]]:
        """The names of the metrics that were not measured, by reason: FID and KID lack the same weights."""
        names: dict[str, list[str]] = {}
        for name, reason in self.missing.items():
            names.setdefault(reason, []).append(name)
        return names

    def columns_of(self, comparison: str) -> list[Column]:
        """Return the columns of one comparison, a key of `COLUMN_PREFIXES`."""
        return [column for column in self.columns.values() if column.comparison == comparison]

    def statistic(self, column: Column, comparison: str | None = None) -> Statistic | None:
        """Return the statistic of a column, or of the same metric of another comparison; None if not measured."""
        return self.statistics.get((column.with_comparison(comparison) if comparison else column).full_name)


JSON_PARTS = {
    "overall": "target",
    "baseline": "untouched",
    "against_oracle": "oracle",
    "untouched_against_oracle": "untouched_oracle",
}
"""Keys of metrics.json that hold statistics, each with the comparison."""


def make_metrics_json(result: Result) -> bytes:
    """Return the numbers of the set as JSON, schema version 1; NaN and infinities, which JSON lacks, are null.

    Rejected pairs are listed with their reasons. The numbers of single pairs are in pairs.parquet.
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
        "columns": _describe_columns(result.columns_of("target")),
        "oracle_columns": _describe_columns(result.columns_of("oracle")),
        "set_columns": _describe_columns(result.set_columns.values()),
        **{part: _select_statistics(result, result.statistics, comparison) for part, comparison in JSON_PARTS.items()},
        "by_style": {style: _select_statistics(result, table, "target") for style, table in result.by_style.items()},
        "oracle_by_style": {
            style: _select_statistics(result, table, "oracle") for style, table in result.by_style.items()
        },
        "set_values": result.set_values,
        "missing": result.missing,
        "best_worst": result.best_worst,
    }
    text = json.dumps(_replace_non_finite(content), indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8", "backslashreplace")


def make_pairs_table(result: Result) -> pa.Table:
    """Return the numbers of every pair, one row for each, null where a pair has no such number.

    The columns are grouped by comparison, in the order of `COLUMN_PREFIXES`.
    """
    texts = ("name", "status", "reason", "style", "face", "source_path", "target_path", "oracle_path")
    columns = {
        name: pa.array([_to_valid_utf8(getattr(pair, name)) for pair in result.pairs], pa.string()) for name in texts
    }
    names = dict.fromkeys(name for pair in result.pairs for name in pair.numbers)
    from_amplification = [name for name in names if name.startswith(COLUMN_PREFIXES["made"])]
    measured = [column.full_name for comparison in COLUMN_PREFIXES for column in result.columns_of(comparison)]
    for name in dict.fromkeys([*(name for name in measured if name in names), *from_amplification, *names]):
        columns[name] = pa.array([pair.numbers.get(name) for pair in result.pairs], pa.float64())
    return pa.table(columns)


def _describe_columns(columns: Iterable[Column]) -> dict[str, dict[str, Any]]:
    return {
        column.name: {key: value for key, value in asdict(column).items() if key != "comparison"} for column in columns
    }


def _select_statistics(result: Result, table: Mapping[str, Statistic], comparison: str) -> dict[str, dict[str, Any]]:
    columns = result.columns_of(comparison)
    return {column.name: asdict(table[column.full_name]) for column in columns if column.full_name in table}


def _replace_non_finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _replace_non_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_replace_non_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _to_valid_utf8(value: str) -> str:
    # Arrow takes only valid UTF-8; invalid bytes of a file name are written as \udcNN.
    return value.encode("utf-8", "backslashreplace").decode()
