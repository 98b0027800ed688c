"""Summary: from measured pairs to the result of an evaluation."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from dda.errors import UserError
from dda.evaluation.bootstrap import bootstrap
from dda.evaluation.evaluator import Measurement
from dda.evaluation.metric_suite import MetricSuite
from dda.evaluation.pair_loader import make_thumbnail
from dda.evaluation.result import PairResult, Result, Statistic
from dda.evaluation.verdict import find_verdicts
from dda.images import read_image
from dda.metrics.metric import COLUMN_PREFIXES, Column, PairSet
from dda.regions import REGIONS

MAX_NAMED_PAIRS = 4
"""Pairs that are named at each end of a column."""

RAW_LEAKAGE_COLUMN = Column(
    name="raw_leakage",
    unit="",
    low=0,
    high=1,
    better="lower",
    about="Share of what the model wanted to paint outside the style's regions, measured by the amplifier before the "
    "masks stopped it: leakage that the finished pair hides; only runs of run_amplify.py have it. Stable Diffusion "
    "holds its latents outside the regions, so there it is what passes that.",
)


def summarize(
    title: str,
    pairs_root: str,
    oracle_root: str | None,
    measurements: Sequence[Measurement],
    suite: MetricSuite,
    seed: int,
) -> Result:
    """Return the result of an evaluation.

    Args:
        title: name of the run or folder.
        pairs_root, oracle_root: the measured folders.
        measurements: every chosen pair.
        suite: the metrics that measured them.
        seed: of the bootstrap and of KID's subsets.

    Raises:
        UserError: none of the pairs was measured.
    """
    measured = [measurement for measurement in measurements if measurement.pair.status == "ok"]
    if not measured:
        first = measurements[0].pair
        raise UserError(
            f"{pairs_root}: none of {len(measurements)} pairs can be measured; the first one is {first.name}: "
            f"{first.reason}"
        )
    pairs = [measurement.pair for measurement in measured]
    has_oracle = any(name in pair.numbers for pair in pairs for name in suite.oracle_columns)
    columns = suite.columns | _add_raw_leakage(pairs, suite) | (suite.oracle_columns if has_oracle else {})
    styles = sorted({pair.style for pair in pairs} - {""})

    def summarize_columns(selected: Sequence[PairResult]) -> dict[str, Statistic]:
        return {name: _summarize_column(column, selected, seed) for name, column in columns.items()}

    set_values, set_missing = suite.measure_set(_make_pair_set(measured, columns, seed))
    result = Result(
        title=title,
        pairs_root=pairs_root,
        oracle_root=oracle_root,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        columns=columns,
        pairs=[measurement.pair for measurement in measurements],
        statistics=summarize_columns(pairs),
        by_style={style: summarize_columns([pair for pair in pairs if pair.style == style]) for style in styles},
        set_values={column.name: value for column, value in set_values.items()},
        set_columns={column.name: column for column in set_values},
        missing=suite.missing | set_missing,
        verdicts=[],
        best_worst=_find_best_worst(pairs, [c for c in columns.values() if c.comparison in ("target", "oracle")]),
    )
    if oracle_root is not None and (reason := _find_missing_oracle(oracle_root, pairs, suite)):
        result.missing["oracle"] = reason
    result.verdicts = find_verdicts(result)
    _add_thumbnails(result)
    return result


def _find_missing_oracle(oracle_root: str, pairs: Sequence[PairResult], suite: MetricSuite) -> str:
    """Return why some or all pairs are not compared with the oracle; empty where all are."""
    if missing := sum(not pair.oracle_path for pair in pairs):
        return f"{missing} of {len(pairs)} pairs have no picture of their name in {oracle_root}"
    if not (suite.oracle_columns or suite.measures("fid") or suite.measures("kid")):
        return "none of the metrics asked for compares pairs with an oracle"
    return ""


def _add_thumbnails(result: Result) -> None:
    """Make the thumbnails of the best and worst pairs that have none yet."""
    named = {name for ends in result.best_worst.values() for names in ends.values() for name in names}
    for pair in result.measured:
        if pair.name in named and not pair.thumbnails:
            files = {"source": pair.source_path, "target": pair.target_path, "oracle": pair.oracle_path}
            pair.thumbnails = {side: make_thumbnail(read_image(Path(file))) for side, file in files.items() if file}


def _add_raw_leakage(pairs: Sequence[PairResult], suite: MetricSuite) -> dict[str, Column]:
    """Copy the leakage that the amplification measured to the numbers of the targets, and return its columns."""
    from_amplification = COLUMN_PREFIXES["made"] + RAW_LEAKAGE_COLUMN.name
    if not suite.measures("leakage") or not any(from_amplification in pair.numbers for pair in pairs):
        return {}
    untouched = RAW_LEAKAGE_COLUMN.with_comparison("untouched")
    for pair in pairs:
        pair.numbers[RAW_LEAKAGE_COLUMN.full_name] = pair.numbers.get(from_amplification, math.nan)
        pair.numbers[untouched.full_name] = math.nan
    return {column.full_name: column for column in (RAW_LEAKAGE_COLUMN, untouched)}


def _summarize_column(column: Column, pairs: Sequence[PairResult], seed: int) -> Statistic:
    """Return the statistic of a column over the pairs that have it, such as those with an oracle."""
    with_number = [pair for pair in pairs if column.full_name in pair.numbers]
    values = [pair.numbers[column.full_name] for pair in with_number]
    return bootstrap(np.array(values, float), [pair.face for pair in with_number], seed)


def _make_pair_set(measured: Sequence[Measurement], columns: Mapping[str, Column], seed: int) -> PairSet:
    unknown = np.full((len(REGIONS), 3), np.nan)
    return PairSet(
        columns=columns,
        numbers={
            name: np.array([measurement.pair.numbers.get(name, math.nan) for measurement in measured], float)
            for name in columns
        },
        color_changes=np.stack([unknown if m.color_changes is None else m.color_changes for m in measured]),
        styles=[measurement.pair.style for measurement in measured],
        people=[measurement.pair.face for measurement in measured],
        features=[measurement.features for measurement in measured],
        seed=seed,
    )


# --- Best and worst pairs ---------------------------------------------------------------------------------


def _find_best_worst(pairs: Sequence[PairResult], columns: Sequence[Column]) -> dict[str, dict[str, list[str]]]:
    """Return the names of the pairs at the two ends of each column that is not constant."""
    best_worst = {}
    for column in columns:
        numbers = [(pair.numbers.get(column.full_name, math.nan), pair.name) for pair in pairs]
        known = [(value, name) for value, name in numbers if not math.isnan(value)]
        if len({value for value, _ in known}) > 1:
            best_worst[column.full_name] = _rank_names(known, column.better)
    return best_worst


def _rank_names(known: Sequence[tuple[float, str]], better: str) -> dict[str, list[str]]:
    """Return the names at the two ends of (value, name) pairs, each end from the outermost inward."""
    ranked = [name for _, name in sorted((abs(value) if better == "zero" else value, name) for value, name in known)]
    count = min(MAX_NAMED_PAIRS, len(ranked) // 2)
    low, high = ranked[:count], ranked[: -count - 1 : -1]
    if better == "higher":
        return {"best": high, "worst": low}
    return {"best": low, "worst": high} if better in ("lower", "zero") else {"lowest": low, "highest": high}
