"""From measured pairs to the result of an evaluation: statistics, the set's own numbers, verdicts, best and worst."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import torch

from dda.evaluation.bootstrap import bootstrap
from dda.evaluation.evaluator import Measurement
from dda.evaluation.labels import label
from dda.evaluation.result import PairResult, Result, Statistic
from dda.evaluation.verdict import verdicts
from dda.metrics import consistency, fid, kid, separability
from dda.metrics.metric import Column
from dda.metrics.skin_tone import tone_gap
from dda.metrics.suite import Suite

ENDS = 4
"""How many pairs are named at each end of a column."""

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

SetNumbers = dict[str, tuple[Column, float]]


def summarize(
    title: str, pairs_root: str, oracle_root: str | None, measurements: Sequence[Measurement], suite: Suite, seed: int
) -> Result:
    """The result of an evaluation.

    Args:
        title: name of the run or folder.
        pairs_root, oracle_root: the folders that were measured.
        measurements: every pair chosen, at least one of them measured.
        suite: what they were measured with.
        seed: of the bootstrap and of KID's subsets.
    """
    pairs = [measurement.pair for measurement in measurements]
    measured = [measurement for measurement in measurements if measurement.pair.status == "ok"]
    ok = [measurement.pair for measurement in measured]
    by_style = {style: [pair for pair in ok if pair.style == style] for style in sorted({p.style for p in ok} - {""})}
    with_oracle = [pair for pair in ok if pair.against_oracle]
    oracle_columns = suite.oracle_columns if with_oracle else {}

    def statistics(part: str, of: Sequence[PairResult], columns: Mapping[str, Column]) -> dict[str, Statistic]:
        return {name: _statistic(part, name, of, seed) for name in columns}

    columns = suite.columns | _noted_columns(ok, suite)
    numbers, missing = _set_numbers(measured, columns, suite, seed)
    result = Result(
        title=title,
        pairs_root=pairs_root,
        oracle_root=oracle_root,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        columns=columns,
        oracle_columns=oracle_columns,
        pairs=pairs,
        overall=statistics("values", ok, columns),
        baseline=statistics("baseline", ok, columns),
        against_oracle=statistics("against_oracle", with_oracle, oracle_columns),
        untouched_against_oracle=statistics("untouched_against_oracle", with_oracle, oracle_columns),
        by_style={style: statistics("values", of, columns) for style, of in by_style.items()},
        oracle_by_style={style: statistics("against_oracle", of, oracle_columns) for style, of in by_style.items()},
        set_values={name: value for name, (_, value) in numbers.items()},
        set_columns={name: column for name, (column, _) in numbers.items()},
        missing=suite.missing | missing,
        verdicts=[],
        best_worst=_ends(ok, "values", columns) | _ends(with_oracle, "against_oracle", oracle_columns, "oracle_"),
    )
    if oracle_root is not None:
        if lacking := sum(not pair.oracle_path for pair in ok):
            result.missing["oracle"] = f"{lacking} of {len(ok)} pairs have no picture of their name in {oracle_root}"
        elif not (suite.oracle_columns or suite.measures("fid") or suite.measures("kid")):
            result.missing["oracle"] = "none of the metrics asked for is taken to an oracle"
    result.verdicts = verdicts(result)
    return result


def _noted_columns(pairs: Sequence[PairResult], suite: Suite) -> dict[str, Column]:
    """What the amplifier noted of its pairs, taken among their values."""
    if not suite.measures("leakage") or not any(RAW_LEAKAGE.name in pair.made for pair in pairs):
        return {}
    for pair in pairs:
        pair.values[RAW_LEAKAGE.name] = pair.made.get(RAW_LEAKAGE.name, math.nan)
        pair.baseline[RAW_LEAKAGE.name] = math.nan
    return {RAW_LEAKAGE.name: RAW_LEAKAGE}


def _statistic(part: str, name: str, pairs: Sequence[PairResult], seed: int) -> Statistic:
    values = [getattr(pair, part).get(name, math.nan) for pair in pairs]
    return bootstrap(np.array(values, float), [pair.face for pair in pairs], seed)


# --- Numbers of the set -----------------------------------------------------------------------------------


def _set_numbers(
    measured: Sequence[Measurement], columns: Mapping[str, Column], suite: Suite, seed: int
) -> tuple[SetNumbers, dict[str, str]]:
    """The set's numbers by name, and why some that were asked for have no meaning here."""
    numbers: SetNumbers = {}
    missing: dict[str, str] = {}
    styled = [m for m in measured if m.pair.style and m.changes is not None]
    for name, measure in (("separability", _separability), ("consistency", _consistency)):
        if not suite.measures(name):
            continue
        found = measure(styled) if styled else {}
        known = {key: item for key, item in found.items() if not math.isnan(item[1])}
        numbers |= known
        if not known:
            missing[name] = _WANTED[name]
    if suite.measures("skin_tone"):
        numbers |= _tone_gaps([m.pair for m in measured], columns, suite.oracle_columns)
    for name, column, distance in (("fid", fid.COLUMN, fid.fid), ("kid", kid.COLUMN, lambda a, b: kid.kid(a, b, seed))):
        if not suite.measures(name):
            continue
        distances = _set_distance(column, distance, measured)
        numbers |= distances
        if not distances:
            missing[name] = _WANTED[name]
    return numbers, missing


_WANTED = {
    "separability": "it needs at least two named styles, and more pairs of more faces",
    "consistency": "it needs a named style on at least two faces",
    "fid": "it needs at least two pairs, with an oracle where one was given",
    "kid": "it needs at least two pairs, with an oracle where one was given",
}


def _separability(styled: Sequence[Measurement]) -> SetNumbers:
    value = separability.separability(*_changes(styled))
    return {separability.COLUMN.name: (separability.COLUMN, value)}


def _consistency(styled: Sequence[Measurement]) -> SetNumbers:
    found = consistency.consistency(*_changes(styled))
    return {column.name: (column, found[style]) for style in found for column in [consistency.column(style)]}


def _changes(styled: Sequence[Measurement]) -> tuple[np.ndarray, list[str], list[str]]:
    """Color changes (N, 4, 3), styles and faces."""
    changes = np.stack([m.changes for m in styled if m.changes is not None])
    return changes, [m.pair.style for m in styled], [m.pair.face for m in styled]


def _tone_gaps(
    pairs: Sequence[PairResult], columns: Mapping[str, Column], oracle_columns: Mapping[str, Column]
) -> SetNumbers:
    """How each metric that has a good end or a band depends on the skin tone of the source."""
    numbers: SetNumbers = {}
    ita = np.array([pair.values["skin_tone"] for pair in pairs], float)
    people = [pair.face for pair in pairs]
    judged = [("values", "", column) for column in columns.values() if column.better not in ("none", "zero")]
    judged += [("against_oracle", "oracle_", column) for column in oracle_columns.values()]
    for part, prefix, column in judged:
        values = np.array([getattr(pair, part).get(column.name, math.nan) for pair in pairs], float)
        found = tone_gap(values, ita, people)
        for gap in _tone_columns(prefix, column):
            value = found.gap if gap.name.startswith("tone_gap") else found.spearman
            if not math.isnan(value):
                numbers[gap.name] = (gap, value)
    return numbers


def _tone_columns(prefix: str, column: Column) -> tuple[Column, Column]:
    name = f"{prefix}{column.name}"
    gap = Column(
        name=f"tone_gap_{name}",
        unit=column.unit,
        low=-math.inf,
        high=math.inf,
        better="zero",
        about=f"{label(name)} of the third of the pairs with the lightest skin less that of the darkest third; styles "
        "and poses that fall unevenly on the thirds move it too.",
    )
    spearman = Column(
        name=f"tone_rank_{name}",
        unit="",
        low=-1,
        high=1,
        better="zero",
        about=f"Spearman's rank correlation of {label(name)} with the skin tone (ITA); it sees any monotonous trend, "
        "however slight.",
    )
    return gap, spearman


def _set_distance(
    column: Column, distance: Callable[[torch.Tensor, torch.Tensor], float], measured: Sequence[Measurement]
) -> SetNumbers:
    """Distance of the targets to the oracle, beside the sources' own; without an oracle to the sources.

    Where some of the pairs have an oracle, those alone count: another choice of people is a distance too.
    """
    true = [m for m in measured if "oracle" in m.features]
    compared = true or measured
    if len(compared) < 2:
        return {}
    sides = compared[0].features
    features = {side: torch.stack([m.features[side] for m in compared]) for side in sides}
    if not true:
        moved = replace(
            column, better="none", about=f"Taken to the sources: 0 where nothing is painted. {column.about}"
        )
        return {column.name: (moved, distance(features["source"], features["target"]))}
    untouched = replace(
        column, name=f"untouched_{column.name}", about=f"The same of the untouched sources. {column.about}"
    )
    return {
        column.name: (column, distance(features["oracle"], features["target"])),
        untouched.name: (untouched, distance(features["oracle"], features["source"])),
    }


# --- The two ends of each column --------------------------------------------------------------------------


def _ends(
    pairs: Sequence[PairResult], part: str, columns: Mapping[str, Column], prefix: str = ""
) -> dict[str, dict[str, list[str]]]:
    """The pairs at the two ends of each column that tells any pairs apart."""
    ends = {}
    for name, column in columns.items():
        known = [(getattr(pair, part)[name], pair.name) for pair in pairs]
        known = [(value, pair) for value, pair in known if not math.isnan(value)]
        if len({value for value, _ in known}) > 1:
            ends[prefix + name] = _two_ends(known, column.better)
    return ends


def _two_ends(known: Sequence[tuple[float, str]], better: str) -> dict[str, list[str]]:
    ranked = [name for _, name in sorted((abs(value) if better == "zero" else value, name) for value, name in known)]
    count = min(ENDS, len(ranked) // 2)
    low, high = ranked[:count], ranked[: -count - 1 : -1]
    if better == "higher":
        return {"best": high, "worst": low}
    return {"best": low, "worst": high} if better in ("lower", "zero") else {"lowest": low, "highest": high}
