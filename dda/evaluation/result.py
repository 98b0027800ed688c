"""What an evaluation found: the numbers of every pair and of the set, as files and report show them."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dda.metrics.metric import Column

if TYPE_CHECKING:
    from dda.evaluation.verdict import Verdict

SCHEMA_VERSION = 1

# What a column of pairs.parquet is called, by the part of a pair's result it comes from.
PREFIXES = {
    "values": "",
    "baseline": "baseline_",
    "against_oracle": "oracle_",
    "untouched_against_oracle": "untouched_oracle_",
    "made": "made_",
}


@dataclass
class PairResult:
    """One pair, measured or refused.

    Attributes:
        name: relative path of the source without its suffix (of the target where there is no source); unique.
        status: "ok"; "rejected", a file is missing, unmatched, unreadable, the sizes differ, or the parser found the
            device's memory full.
        reason: why, in one short line; empty when ok.
        style: name of its style; empty when unknown.
        face: whose face it is, the content hash of the source; empty when the source was not read.
        source_path, target_path, oracle_path: the files as given, empty where there is none.
        values: by column name; NaN where a metric does not apply (no face, or not in this region).
        baseline: the same columns with the source as its own target, the identity baseline.
        against_oracle: target against oracle, by column name without prefix ("psnr", "psnr_lips").
        untouched_against_oracle: source against oracle, the same columns.
        made: what the amplifier measured when it composed the pair, by measure.
        thumbnails: JPEG bytes by "source", "target" and "oracle", longer side 256 pixels; only of the first
            `dda.evaluation.evaluator.THUMBNAILS` pairs and of those that the report names as best and worst.
    """

    name: str
    status: str
    reason: str = ""
    style: str = ""
    face: str = ""
    source_path: str = ""
    target_path: str = ""
    oracle_path: str = ""
    values: dict[str, float] = field(default_factory=dict)
    baseline: dict[str, float] = field(default_factory=dict)
    against_oracle: dict[str, float] = field(default_factory=dict)
    untouched_against_oracle: dict[str, float] = field(default_factory=dict)
    made: dict[str, float] = field(default_factory=dict)
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
        columns: the columns of `PairResult.values` and `baseline`, by name.
        oracle_columns: those of `against_oracle`, by name without prefix; empty without an oracle.
        pairs: every pair chosen, rejected ones too.
        overall, baseline: statistics of `values` and `baseline`, by column.
        against_oracle, untouched_against_oracle: the same of the comparisons with the oracle.
        by_style: style to column to statistic, of `values`; empty where no style is known.
        oracle_by_style: the same of `against_oracle`.
        set_values, set_columns: numbers of the set as a whole, by name.
        missing: metric to the reason why it was not measured.
        verdicts: what the numbers mean, worst first.
        best_worst: column (oracle columns as "oracle_NAME") to the names of up to four pairs at its two ends:
            {"best": [...], "worst": [...]}, or {"lowest": [...], "highest": [...]} where neither end is better.
    """

    title: str
    pairs_root: str
    oracle_root: str | None
    created: str
    columns: dict[str, Column]
    oracle_columns: dict[str, Column]
    pairs: list[PairResult]
    overall: dict[str, Statistic]
    baseline: dict[str, Statistic]
    against_oracle: dict[str, Statistic]
    untouched_against_oracle: dict[str, Statistic]
    by_style: dict[str, dict[str, Statistic]]
    oracle_by_style: dict[str, dict[str, Statistic]]
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
        return [pair for pair in self.pairs if pair.status != "ok"]


def metrics_json(result: Result) -> bytes:
    """The set's numbers as JSON, schema version 1; NaN and infinities, which JSON lacks, are null.

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
        "columns": _dicts(result.columns),
        "oracle_columns": _dicts(result.oracle_columns),
        "set_columns": _dicts(result.set_columns),
        "overall": _dicts(result.overall),
        "baseline": _dicts(result.baseline),
        "against_oracle": _dicts(result.against_oracle),
        "untouched_against_oracle": _dicts(result.untouched_against_oracle),
        "by_style": {style: _dicts(table) for style, table in result.by_style.items()},
        "oracle_by_style": {style: _dicts(table) for style, table in result.oracle_by_style.items()},
        "set_values": result.set_values,
        "missing": result.missing,
        "best_worst": result.best_worst,
    }
    text = json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False)
    return (text + "\n").encode("utf-8", "backslashreplace")


def pairs_table(result: Result) -> pa.Table:
    """The numbers of every pair, a row each; columns named with `PREFIXES`, null where a pair has no such number."""
    texts = ("name", "status", "reason", "style", "face", "source_path", "target_path", "oracle_path")
    columns = {name: pa.array([_text(getattr(pair, name)) for pair in result.pairs], pa.string()) for name in texts}
    for part, prefix in PREFIXES.items():
        numbers: list[dict[str, float]] = [getattr(pair, part) for pair in result.pairs]
        for name in dict.fromkeys(name for pair in numbers for name in pair):
            columns[prefix + name] = pa.array([pair.get(name) for pair in numbers], pa.float64())
    return pa.table(columns)


def _dicts(items: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: asdict(item) for name, item in items.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: str) -> str:
    # Arrow takes valid UTF-8 alone; a file name that is not shows its odd bytes as \udcNN.
    return value.encode("utf-8", "backslashreplace").decode()
