"""Verdicts: what the numbers of a set of pairs mean, in plain sentences.

The thresholds lie between good pairs and bad ones that were measured: the shipped five styles over 45 CC0 portraits
and a third-party makeup network's 18 pairs on the one side ("good" below), and 16 to 36 of these pairs, spoiled as
said, on the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dda.evaluation.result import Result
from dda.regions import REGIONS

MIN_PAIR_STRUCTURE = 0.3
"""Least structure of two pictures that are a pair: good pairs 0.968 or more, targets of other people 0.16 at most."""

MIN_ALIGNED_STRUCTURE = 0.8
"""Least structure of a pair whose pictures lie on each other: good 0.968 or more, moved by two pixels 0.60 to 0.71."""

MIN_IDENTITY_COSINE = 0.94
"""Least identity cosine of the same person: good 0.971 or more, targets of other people 0.934 at most."""

MIN_VISIBLE_DELTA_E = 1.0
"""dE00 that the most changed region must reach: 1 % of the good pairs lie below 1.6, and 0.90 is the least."""

MAX_STRENGTH_DELTA_E = {"eyes": 14.0, "lips": 28.0, "skin": 8.0, "brows": 8.0}
"""dE00 above which a region is over-strong: good at most 11.2, 24.9, 4.4 and 4.7; painted four times over, 16 pairs
reach 15.2, 35.2, 14.4 and 9.3."""

MAX_LEAKAGE = 0.05
"""Largest leakage of pairs that do not leak: the shipped styles have 0.013 at most; the makeup network, which repaints
the whole picture a little, 0.17 to 0.73."""

MAX_EDIT_OFFSET_PX = 6.0
"""Largest edit offset, the median over the set: good 0 and 2.4, an edit moved by 12 pixels 12 and 14. A single pair is
not judged by it: a tenth of the good ones exceed it."""

MIN_DETAIL_KEPT = 0.8
"""Least detail kept where the skin has its texture: good 0.983 or more, as JPEG of quality 75 0.77 to 0.95, blurred by
two pixels 0.59 on average."""

MIN_SEPARABILITY = 0.7
"""Least separability of styles that can be told apart: five good ones have 0.95, and chance is 0.2."""

JUDGED_COLUMNS = (
    *("structure", "identity", "leakage", "background_error", "edit_offset", "detail_kept"),
    *(f"strength_{region}" for region in REGIONS),
)
"""The columns that verdicts are based on; of the numbers of the set, separability alone."""

NO_VERDICT_TEXT = (
    "There is no verdict: none of the numbers that verdicts are based on was measured; metrics=null measures "
    "structure, strength, leakage and all others."
)


@dataclass(frozen=True)
class Verdict:
    """One finding.

    Attributes:
        level: "bad" (most of the set), "warn" (some pairs), "good", or "none" (nothing to judge by was measured).
        text: a sentence.
    """

    level: str
    text: str


def find_verdicts(result: Result) -> list[Verdict]:
    """Return what the measured pairs of a result mean, worst first; empty where nothing was measured."""
    if not result.measured:
        return []
    is_pair = ~(_column(result, "structure") < MIN_PAIR_STRUCTURE)
    found = _find_mismatches(result, is_pair)
    if is_pair.any():  # what follows means nothing for pictures that are no pair
        found += (
            _find_missing_makeup(result, is_pair)
            + _find_excess(result, is_pair)
            + _find_misplaced_makeup(result, is_pair)
            + _find_lost_detail(result, is_pair)
        )
        found += _find_similar_styles(result)
    if not found:
        return [
            Verdict("good", _describe_good_pairs(result))
            if _has_judged_numbers(result)
            else Verdict("none", NO_VERDICT_TEXT)
        ]
    return sorted(found, key=lambda verdict: ("bad", "warn").index(verdict.level))


def _has_judged_numbers(result: Result) -> bool:
    """Return whether any number that a verdict is based on was measured."""
    known = any(np.isfinite(_column(result, name)).any() for name in JUDGED_COLUMNS)
    return known or "separability" in result.set_values


def _find_mismatches(result: Result, is_pair: np.ndarray) -> list[Verdict]:
    found = _make_verdicts(
        ~is_pair,
        "These are not pairs: source and target are different pictures; check that their file names belong together.",
        "{} are not pairs: source and target are different pictures; check that their file names belong together.",
    )
    is_other_person = is_pair & (_column(result, "identity") < MIN_IDENTITY_COSINE)
    found += _make_verdicts(
        is_other_person, "The targets show other people.", "In {} the target may show another person.", is_pair
    )
    structure = _column(result, "structure")
    is_unaligned = is_pair & (structure < MIN_ALIGNED_STRUCTURE)
    return found + _make_verdicts(
        is_unaligned,
        "Source and target do not lie on each other: the picture was moved, resized or repainted.",
        "In {} source and target do not lie on each other: the picture was moved, resized or repainted.",
        is_pair,
    )


def _find_missing_makeup(result: Result, is_pair: np.ndarray) -> list[Verdict]:
    regions = np.stack([_column(result, f"strength_{region}") for region in REGIONS])
    strongest = np.where(np.isnan(regions), -np.inf, regions).max(0)
    has_no_face = is_pair & ("strength" in result.columns) & np.isinf(strongest)
    is_bare = is_pair & np.isfinite(strongest) & (strongest < MIN_VISIBLE_DELTA_E)
    why = f"no region's color moves by a just noticeable {MIN_VISIBLE_DELTA_E:g} dE00."
    return _make_verdicts(
        is_bare,
        f"There is no makeup in these pairs: {why}",
        f"There is no makeup in {{}}: {why}",
        is_pair & ~has_no_face,
    ) + _make_verdicts(
        has_no_face,
        "No face was found in the sources: makeup and background could not be measured.",
        "In {} no face was found: makeup and background could not be measured there.",
        is_pair,
    )


def _find_excess(result: Result, is_pair: np.ndarray) -> list[Verdict]:
    found = []
    for region, limit in MAX_STRENGTH_DELTA_E.items():
        is_excessive = is_pair & (_column(result, f"strength_{region}") > limit)
        found += _make_verdicts(
            is_excessive,
            f"The makeup of the {region} is over-strong: their color moves by more than {limit:g} dE00.",
            f"The makeup of the {region} is over-strong in {{}}: their color moves by more than {limit:g} dE00.",
            is_pair,
        )
    return found


def _find_misplaced_makeup(result: Result, is_pair: np.ndarray) -> list[Verdict]:
    leakage, background = _column(result, "leakage"), _column(result, "background_error")
    found = _make_verdicts(
        is_pair & (leakage > MAX_LEAKAGE),
        f"The makeup leaks: more than {MAX_LEAKAGE:.0%} of the change lies outside eyes, lips, skin and brows.",
        f"The makeup leaks in {{}}: more than {MAX_LEAKAGE:.0%} of the change lies outside eyes, lips, skin and brows.",
        is_pair,
    )
    found += _make_verdicts(
        is_pair & (background > 0),
        "The background changed; saving as JPEG does this, PNG does not.",
        "The background changed in {}; saving as JPEG does this, PNG does not.",
        is_pair,
    )
    offsets = _column(result, "edit_offset")[is_pair]
    if np.isfinite(offsets).any() and np.nanmedian(offsets) > MAX_EDIT_OFFSET_PX:
        text = f"The makeup lies about {np.nanmedian(offsets):.0f} pixels beside the features it belongs to."
        found.append(Verdict("bad", text))
    return found


def _find_lost_detail(result: Result, is_pair: np.ndarray) -> list[Verdict]:
    is_blurred = is_pair & (_column(result, "detail_kept") < MIN_DETAIL_KEPT)
    return _make_verdicts(
        is_blurred, "The skin's own texture is lost.", "The skin's own texture is lost in {}.", is_pair
    )


def _find_similar_styles(result: Result) -> list[Verdict]:
    value = result.set_values.get("separability", np.nan)
    if not value < MIN_SEPARABILITY:  # nor where it was not measured
        return []
    return [Verdict("warn", f"The styles are hard to tell apart: {value:.0%} of the pairs look like their own style.")]


def _describe_good_pairs(result: Result) -> str:
    strength, structure = _column(result, "strength"), _column(result, "structure")
    if np.isnan(strength).all() or np.isnan(structure).all():
        return "All measured checks passed."
    mean = np.nanmean(strength)
    return f"These are pairs: the same pictures, with makeup of {mean:.1f} dE00 on average where it belongs."


def _make_verdicts(wrong: np.ndarray, whole: str, part: str, among: np.ndarray | None = None) -> list[Verdict]:
    """Return a verdict where any pair is wrong: bad where most are, else a warning that counts them.

    Args:
        wrong: (N,) bool.
        whole: said where more than half are wrong.
        part: said otherwise; {} is "3 of 50 pairs".
        among: the pairs that count, (N,) bool; all by default.
    """
    count, total = int(wrong.sum()), len(wrong) if among is None else int(among.sum())
    if not count:
        return []
    some = f"{count} of {total} pairs"
    if 2 * count <= total:
        return [Verdict("warn", part.format(some))]
    return [Verdict("bad", whole if count == total else f"{whole} ({some})")]


def _column(result: Result, name: str) -> np.ndarray:
    """Return one column of the measured pairs (N,), NaN where it was not measured."""
    values: Sequence[float] = [pair.numbers.get(name, np.nan) for pair in result.measured]
    return np.array(values, float)
