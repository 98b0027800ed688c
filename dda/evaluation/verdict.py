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

NOT_A_PAIR = 0.3
"""Structure of two pictures that are not a pair: good 0.968 or more, targets dealt to other people at most 0.16."""

ASIDE = 0.8
"""Structure of a pair whose pictures do not lie on each other: good 0.968 or more, moved by two pixels 0.60 to 0.71."""

SOMEBODY_ELSE = 0.94
"""Identity cosine of another person: good 0.971 or more, targets dealt to other people at most 0.934."""

JUST_NOTICEABLE = 1.0
"""dE00 that the most changed region must reach: 1 % of the good pairs lie below 1.6, and 0.90 is the least."""

STRONG = {"eyes": 14.0, "lips": 28.0, "skin": 8.0, "brows": 8.0}
"""dE00 beyond which a region is overdone: good at most 11.2, 24.9, 4.4 and 4.7; painted four times over, 16 of them
reach 15.2, 35.2, 14.4 and 9.3."""

LEAKING = 0.05
"""Leakage of pairs that leak. The shipped styles have at most 0.013; the makeup network, which repaints the whole
picture a little, 0.17 to 0.73."""

BESIDE = 6.0
"""Edit offset in pixels, the median over the set: good 0 and 2.4, an edit moved by 12 pixels 12 and 14. One pair
alone is not judged by it: a tenth of the good ones exceed it."""

BLURRED = 0.8
"""Detail kept of pairs that lost the skin's texture: good 0.983 or more, as JPEG of quality 75 0.77 to 0.95, blurred
by two pixels 0.59 on average."""

APART = 0.7
"""Separability of styles that are hard to tell apart; five good ones have 0.95, and chance is 0.2."""

JUDGED = (
    *("structure", "identity", "leakage", "background_error", "edit_offset", "detail_kept"),
    *(f"strength_{region}" for region in REGIONS),
)
"""The columns that a verdict goes by; of the set's own numbers it is separability alone."""

UNJUDGED = (
    "There is no verdict: nothing that it goes by has a number here; metrics=null measures structure, strength, "
    "leakage and all else that it needs."
)


@dataclass(frozen=True)
class Verdict:
    """One finding: ``level`` "bad" (most of the set), "warn" (look at it), "good" or "none" (nothing to judge by was
    measured); ``text`` a sentence."""

    level: str
    text: str


def verdicts(result: Result) -> list[Verdict]:
    """What the measured pairs of a result mean, worst first; empty where nothing was measured."""
    if not result.measured:
        return []
    same = ~(_column(result, "structure") < NOT_A_PAIR)
    found = _not_pairs(result, same)
    if same.any():  # what follows means nothing for pictures that are no pair
        found += _empty(result, same) + _overdone(result, same) + _places(result, same) + _quality(result, same)
        found += _styles(result)
    if not found:
        return [Verdict("good", _praise(result)) if _judged(result) else Verdict("none", UNJUDGED)]
    return sorted(found, key=lambda verdict: ("bad", "warn").index(verdict.level))


def _judged(result: Result) -> bool:
    """Whether anything that a verdict goes by has a number."""
    known = any(np.isfinite(_column(result, name)).any() for name in JUDGED)
    return known or "separability" in result.set_values


def _not_pairs(result: Result, same: np.ndarray) -> list[Verdict]:
    found = _finding(
        ~same,
        "These are not pairs: source and target are different pictures; check that their file names belong together.",
        "{} are not pairs: source and target are different pictures; check that their file names belong together.",
    )
    somebody = same & (_column(result, "identity") < SOMEBODY_ELSE)
    found += _finding(somebody, "The targets show other people.", "In {} the target may show another person.", same)
    structure = _column(result, "structure")
    aside = same & (structure < ASIDE)
    return found + _finding(
        aside,
        "Source and target do not lie on each other: the picture was moved, resized or repainted.",
        "In {} source and target do not lie on each other: the picture was moved, resized or repainted.",
        same,
    )


def _empty(result: Result, same: np.ndarray) -> list[Verdict]:
    regions = np.stack([_column(result, f"strength_{region}") for region in REGIONS])
    strongest = np.where(np.isnan(regions), -np.inf, regions).max(0)
    faceless = same & ("strength" in result.columns) & np.isinf(strongest)
    empty = same & np.isfinite(strongest) & (strongest < JUST_NOTICEABLE)
    why = f"no region's color moves by a just noticeable {JUST_NOTICEABLE:g} dE00."
    return _finding(
        empty, f"There is no makeup in these pairs: {why}", f"There is no makeup in {{}}: {why}", same & ~faceless
    ) + _finding(
        faceless,
        "No face was found in the sources: makeup and background could not be measured.",
        "In {} no face was found: makeup and background could not be measured there.",
        same,
    )


def _overdone(result: Result, same: np.ndarray) -> list[Verdict]:
    found = []
    for region, limit in STRONG.items():
        over = same & (_column(result, f"strength_{region}") > limit)
        found += _finding(
            over,
            f"The makeup of the {region} is over-strong: their color moves by more than {limit:g} dE00.",
            f"The makeup of the {region} is over-strong in {{}}: their color moves by more than {limit:g} dE00.",
            same,
        )
    return found


def _places(result: Result, same: np.ndarray) -> list[Verdict]:
    leakage, background = _column(result, "leakage"), _column(result, "background_error")
    found = _finding(
        same & (leakage > LEAKING),
        f"The makeup leaks: more than {LEAKING:.0%} of the change lies outside eyes, lips, skin and brows.",
        f"The makeup leaks in {{}}: more than {LEAKING:.0%} of the change lies outside eyes, lips, skin and brows.",
        same,
    )
    found += _finding(
        same & (background > 0),
        "The background changed; saving as JPEG does this, PNG does not.",
        "The background changed in {}; saving as JPEG does this, PNG does not.",
        same,
    )
    beside = _column(result, "edit_offset")[same]
    if np.isfinite(beside).any() and np.nanmedian(beside) > BESIDE:
        text = f"The makeup lies about {np.nanmedian(beside):.0f} pixels beside the features it belongs to."
        found.append(Verdict("bad", text))
    return found


def _quality(result: Result, same: np.ndarray) -> list[Verdict]:
    lost = same & (_column(result, "detail_kept") < BLURRED)
    return _finding(lost, "The skin's own texture is lost.", "The skin's own texture is lost in {}.", same)


def _styles(result: Result) -> list[Verdict]:
    value = result.set_values.get("separability", np.nan)
    if not value < APART:  # nor where it was not measured
        return []
    return [Verdict("warn", f"The styles are hard to tell apart: {value:.0%} of the pairs look like their own style.")]


def _praise(result: Result) -> str:
    strength, structure = _column(result, "strength"), _column(result, "structure")
    if np.isnan(strength).all() or np.isnan(structure).all():
        return "Nothing speaks against these pairs in what was measured."
    mean = np.nanmean(strength)
    return f"These are pairs: the same pictures, with makeup of {mean:.1f} dE00 on average where it belongs."


def _finding(wrong: np.ndarray, whole: str, part: str, among: np.ndarray | None = None) -> list[Verdict]:
    """A verdict where any pair is wrong: bad and of the whole set where most are, a warning that counts them if fewer.

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
    """One column of the measured pairs (N,), NaN where it was not measured."""
    values: Sequence[float] = [pair.values.get(name, np.nan) for pair in result.measured]
    return np.array(values, float)
