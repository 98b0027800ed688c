"""Verdicts: conclusions from the numbers of a set of pairs, in sentences.

Each threshold lies between measured good and bad pairs. Good pairs are the shipped five styles on 45 CC0 portraits and
18 pairs of another makeup network. Bad pairs are 16 to 36 of these, damaged as each comment says.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dda.evaluation.result import Result
from dda.regions import REGIONS

MIN_PAIR_STRUCTURE = 0.3
"""Minimum structure of pictures that are a pair. Good pairs: at least 0.968; targets of other people: at most 0.16."""

MIN_ALIGNED_STRUCTURE = 0.8
"""Minimum structure of an aligned pair. Good pairs: at least 0.968; shifted by two pixels: 0.60 to 0.71."""

MIN_IDENTITY_COSINE = 0.94
"""Minimum identity of the same person. Good pairs: at least 0.971; targets of other people: at most 0.934."""

MIN_VISIBLE_DELTA_E = 1.0
"""Minimum strength, in dE00, of the most changed region. Good pairs: at least 0.90, and 99 % above 1.6."""

MAX_STRENGTH_DELTA_E = {"eyes": 14.0, "lips": 28.0, "skin": 8.0, "brows": 8.0}
"""Maximum strength of each region, in dE00. Good pairs: at most 11.2, 24.9, 4.4 and 4.7; 16 pairs painted four times
over: up to 15.2, 35.2, 14.4 and 9.3."""

MAX_LEAKAGE = 0.05
"""Maximum leakage. The shipped styles: at most 0.013; the makeup network, which changes the whole picture slightly:
0.17 to 0.73."""

MAX_EDIT_OFFSET_PX = 6.0
"""Maximum edit offset, median over the set. Good sets: 0 and 2.4; edits shifted by 12 pixels: 12 and 14. It is not
applied to single pairs, because a tenth of the good ones exceed it."""

MIN_DETAIL_KEPT = 0.8
"""Minimum detail kept. Good pairs: at least 0.983; JPEG of quality 75: 0.77 to 0.95; blurred by two pixels: 0.59 on
average."""

MIN_SEPARABILITY = 0.7
"""Minimum separability of the styles of a set. Five good styles: 0.95; chance: 0.2."""

JUDGED_COLUMNS = (
    *("structure", "identity", "leakage", "background_error", "edit_offset", "detail_kept"),
    *(f"strength_{region}" for region in REGIONS),
)
"""The columns of pairs that have a threshold; of the set only separability has one."""

NO_VERDICT_TEXT = (
    "No verdict: no metric with a threshold was measured, such as structure, strength or leakage; measure all metrics."
)


@dataclass(frozen=True)
class Verdict:
    """One conclusion.

    Attributes:
        level: "bad" (most of the set), "warn" (some pairs), "good", or "none" (nothing with a threshold was measured).
        text: a sentence.
    """

    level: str
    text: str


def find_verdicts(result: Result) -> list[Verdict]:
    """Return the verdicts about the measured pairs, worst first; empty without a measured pair."""
    if not result.measured:
        return []
    is_pair = ~(_get_column(result, "structure") < MIN_PAIR_STRUCTURE)
    faults = _find_mismatches(result, is_pair)
    if is_pair.any():  # the other checks are meaningless for different pictures
        faults += (
            _find_missing_makeup(result, is_pair)
            + _find_excess(result, is_pair)
            + _find_misplaced_makeup(result, is_pair)
            + _find_lost_detail(result, is_pair)
        )
        faults += _find_similar_styles(result)
    if faults:
        return sorted(faults, key=lambda verdict: ("bad", "warn").index(verdict.level))
    if _has_judged_numbers(result):
        return [Verdict("good", _describe_good_pairs(result))]
    return [Verdict("none", NO_VERDICT_TEXT)]


def _has_judged_numbers(result: Result) -> bool:
    """Return whether any number with a threshold was measured."""
    is_measured = any(np.isfinite(_get_column(result, name)).any() for name in JUDGED_COLUMNS)
    return is_measured or "separability" in result.set_values


def _find_mismatches(result: Result, is_pair: np.ndarray) -> list[Verdict]:
    verdicts = _make_verdicts(
        ~is_pair,
        "These are not pairs: source and target are different pictures; check that their file names belong together.",
        "{} are not pairs: source and target are different pictures; check that their file names belong together.",
    )
    is_other_person = is_pair & (_get_column(result, "identity") < MIN_IDENTITY_COSINE)
    verdicts += _make_verdicts(
        is_other_person, "The targets show other people.", "In {} the target may show another person.", is_pair
    )
    is_unaligned = is_pair & (_get_column(result, "structure") < MIN_ALIGNED_STRUCTURE)
    return verdicts + _make_verdicts(
        is_unaligned,
        "Source and target are not aligned: the picture was moved, resized or repainted.",
        "In {} source and target are not aligned: the picture was moved, resized or repainted.",
        is_pair,
    )


def _find_missing_makeup(result: Result, is_pair: np.ndarray) -> list[Verdict]:
    regions = np.stack([_get_column(result, f"strength_{region}") for region in REGIONS])
    strongest = np.where(np.isnan(regions), -np.inf, regions).max(0)
    has_no_face = is_pair & ("strength" in result.columns) & np.isinf(strongest)
    is_bare = is_pair & np.isfinite(strongest) & (strongest < MIN_VISIBLE_DELTA_E)
    reason = f"no region's color changes by {MIN_VISIBLE_DELTA_E:g} dE00, which is just noticeable."
    return _make_verdicts(
        is_bare,
        f"No makeup in these pairs: {reason}",
        f"No makeup in {{}}: {reason}",
        is_pair & ~has_no_face,
    ) + _make_verdicts(
        has_no_face,
        "No face was found in the sources: makeup and background could not be measured.",
        "In {} no face was found: makeup and background could not be measured there.",
        is_pair,
    )


def _find_excess(result: Result, is_pair: np.ndarray) -> list[Verdict]:
    verdicts = []
    for region, limit in MAX_STRENGTH_DELTA_E.items():
        is_excessive = is_pair & (_get_column(result, f"strength_{region}") > limit)
        verdicts += _make_verdicts(
            is_excessive,
            f"The makeup of the {region} is too strong: the color changes by more than {limit:g} dE00.",
            f"The makeup of the {region} is too strong in {{}}: the color changes by more than {limit:g} dE00.",
            is_pair,
        )
    return verdicts


def _find_misplaced_makeup(result: Result, is_pair: np.ndarray) -> list[Verdict]:
    leakage, background = _get_column(result, "leakage"), _get_column(result, "background_error")
    verdicts = _make_verdicts(
        is_pair & (leakage > MAX_LEAKAGE),
        f"The makeup leaks: more than {MAX_LEAKAGE:.0%} of the change lies outside eyes, lips, skin and brows.",
        f"The makeup leaks in {{}}: more than {MAX_LEAKAGE:.0%} of the change lies outside eyes, lips, skin and brows.",
        is_pair,
    )
    verdicts += _make_verdicts(
        is_pair & (background > 0),
        "The background changed; saving as JPEG does this, PNG does not.",
        "The background changed in {}; saving as JPEG does this, PNG does not.",
        is_pair,
    )
    offsets = _get_column(result, "edit_offset")[is_pair]
    if np.isfinite(offsets).any() and np.nanmedian(offsets) > MAX_EDIT_OFFSET_PX:
        text = f"The makeup is shifted by about {np.nanmedian(offsets):.0f} pixels from the regions it belongs to."
        verdicts.append(Verdict("bad", text))
    return verdicts


def _find_lost_detail(result: Result, is_pair: np.ndarray) -> list[Verdict]:
    is_blurred = is_pair & (_get_column(result, "detail_kept") < MIN_DETAIL_KEPT)
    return _make_verdicts(
        is_blurred, "The fine texture of the skin is lost.", "The fine texture of the skin is lost in {}.", is_pair
    )


def _find_similar_styles(result: Result) -> list[Verdict]:
    accuracy = result.set_values.get("separability", np.nan)
    if not accuracy < MIN_SEPARABILITY:  # also where it was not measured
        return []
    text = f"The styles are hard to tell apart: only {accuracy:.0%} of the pairs look like their own style."
    return [Verdict("warn", text)]


def _describe_good_pairs(result: Result) -> str:
    strength, structure = _get_column(result, "strength"), _get_column(result, "structure")
    if np.isnan(strength).all() or np.isnan(structure).all():
        return "All measured checks passed."
    return (
        "All measured checks passed: source and target match, and the makeup changes its regions by "
        f"{np.nanmean(strength):.1f} dE00 on average."
    )


def _make_verdicts(
    is_faulty: np.ndarray, all_text: str, some_text: str, is_counted: np.ndarray | None = None
) -> list[Verdict]:
    """Return a verdict if any pair is faulty: bad if most are, else a warning that counts them.

    Args:
        is_faulty: (N,) bool.
        all_text: the sentence where more than half are faulty.
        some_text: the sentence otherwise; {} becomes "3 of 50 pairs".
        is_counted: the pairs that were checked, (N,) bool; all by default.
    """
    count, total = int(is_faulty.sum()), len(is_faulty) if is_counted is None else int(is_counted.sum())
    if not count:
        return []
    fraction = f"{count} of {total} pairs"
    if 2 * count <= total:
        return [Verdict("warn", some_text.format(fraction))]
    return [Verdict("bad", all_text if count == total else f"{all_text} ({fraction})")]


def _get_column(result: Result, name: str) -> np.ndarray:
    """Return one column of the measured pairs (N,), NaN where it was not measured."""
    values: Sequence[float] = [pair.numbers.get(name, np.nan) for pair in result.measured]
    return np.array(values, float)
