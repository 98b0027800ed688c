"""From measured pairs to the result of an evaluation: statistics, numbers of the set, verdicts, both ends."""

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
from dda.metrics.metric import PREFIXES, Column, PairSet
from dda.regions import REGIONS

MAX_NAMED_PAIRS = 4
"""Pairs that are named at each end of a column."""

RAW_LEAKAGE = Column(
    name="raw_leakage",
    unit="",
    low=0,
    high=1,
    better="lower",
    about="Share of what the model wanted to paint outside the style's regions, noted by the amplifier before the "
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
        pairs_root, oracle_root: the folders that were measured.
        measurements: every pair chosen.
        suite: what they were measured with.
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
    columns = suite.columns | _add_noted_columns(pairs, suite) | (suite.oracle_columns if has_oracle else {})
    styles = sorted({pair.style for pair in pairs} - {""})

    def statistics(of: Sequence[PairResult]) -> dict[str, Statistic]:
        return {name: _compute_statistic(column, of, seed) for name, column in columns.items()}

    numbers, missing = suite.measure_set(_make_pair_set(measured, columns, seed))
    result = Result(
        title=title,
        pairs_root=pairs_root,
        oracle_root=oracle_root,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        columns=columns,
        pairs=[measurement.pair for measurement in measurements],
        statistics=statistics(pairs),
        by_style={style: statistics([pair for pair in pairs if pair.style == style]) for style in styles},
        set_values={column.name: value for column, value in numbers.items()},
        set_columns={column.name: column for column in numbers},
        missing=suite.missing | missing,
        verdicts=[],
        best_worst=_find_ends(pairs, [c for c in columns.values() if c.comparison in ("target", "oracle")]),
    )
    if oracle_root is not None:
        if lacking := sum(not pair.oracle_path for pair in pairs):
            result.missing["oracle"] = f"{lacking} of {len(pairs)} pairs have no picture of their name in {oracle_root}"
        elif not (suite.oracle_columns or suite.measures("fid") or suite.measures("kid")):
            result.missing["oracle"] = "none of the metrics asked for is taken to an oracle"
    result.verdicts = find_verdicts(result)
    _add_thumbnails(result)
    return result


def _add_thumbnails(result: Result) -> None:
    """Make thumbnails of the best and worst pairs, where they are not among the first pairs, which have theirs."""
    named = {name for ends in result.best_worst.values() for names in ends.values() for name in names}
    for pair in result.measured:
        if pair.name in named and not pair.thumbnails:
            files = {"source": pair.source_path, "target": pair.target_path, "oracle": pair.oracle_path}
            pair.thumbnails = {side: make_thumbnail(read_image(Path(file))) for side, file in files.items() if file}


def _add_noted_columns(pairs: Sequence[PairResult], suite: MetricSuite) -> dict[str, Column]:
    """Add what the amplifier noted of its pairs to the numbers of the targets; return the columns."""
    noted = PREFIXES["made"] + RAW_LEAKAGE.name
    if not suite.measures("leakage") or not any(noted in pair.numbers for pair in pairs):
        return {}
    for pair in pairs:
        pair.numbers[RAW_LEAKAGE.full_name] = pair.numbers.get(noted, math.nan)
        pair.numbers[RAW_LEAKAGE.compared("untouched").full_name] = math.nan
    return {column.full_name: column for column in (RAW_LEAKAGE, RAW_LEAKAGE.compared("untouched"))}


def _compute_statistic(column: Column, pairs: Sequence[PairResult], seed: int) -> Statistic:
    """Return the statistic of a column over the pairs that have it: for the oracle's, those with an oracle."""
    taken = [pair for pair in pairs if column.full_name in pair.numbers]
    values = [pair.numbers[column.full_name] for pair in taken]
    return bootstrap(np.array(values, float), [pair.face for pair in taken], seed)


def _make_pair_set(measured: Sequence[Measurement], columns: Mapping[str, Column], seed: int) -> PairSet:
    nothing = np.full((len(REGIONS), 3), np.nan)
    return PairSet(
        columns=columns,
        numbers={
            name: np.array([measurement.pair.numbers.get(name, math.nan) for measurement in measured], float)
            for name in columns
        },
        changes=np.stack([nothing if m.changes is None else m.changes for m in measured]),
        styles=[measurement.pair.style for measurement in measured],
        people=[measurement.pair.face for measurement in measured],
        features=[measurement.features for measurement in measured],
        seed=seed,
    )


# --- The two ends of each column --------------------------------------------------------------------------


def _find_ends(pairs: Sequence[PairResult], columns: Sequence[Column]) -> dict[str, dict[str, list[str]]]:
    """Return the pairs at the two ends of each column in which any pairs differ."""
    ends = {}
    for column in columns:
        numbers = [(pair.numbers.get(column.full_name, math.nan), pair.name) for pair in pairs]
        known = [(value, name) for value, name in numbers if not math.isnan(value)]
        if len({value for value, _ in known}) > 1:
            ends[column.full_name] = _pick_ends(known, column.better)
    return ends


def _pick_ends(known: Sequence[tuple[float, str]], better: str) -> dict[str, list[str]]:
    ranked = [name for _, name in sorted((abs(value) if better == "zero" else value, name) for value, name in known)]
    count = min(MAX_NAMED_PAIRS, len(ranked) // 2)
    low, high = ranked[:count], ranked[: -count - 1 : -1]
    if better == "higher":
        return {"best": high, "worst": low}
    return {"best": low, "worst": high} if better in ("lower", "zero") else {"lowest": low, "highest": high}
