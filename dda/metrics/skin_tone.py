"""Skin tone as a continuous axis, and whether other metrics depend on it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import spearmanr

from dda.metrics.color import srgb_to_lab
from dda.metrics.labels import format_column
from dda.metrics.metric import Column, PairBatch, PairSet, weighted_mean

MIN_SKIN_CHROMA = 3.0
"""CIELAB chroma of skin below which a picture is gray, so that the angle is noise."""

MIN_PEOPLE = 6
"""People that a comparison of thirds needs: with fewer, a third is one person."""


class SkinTone:
    """Individual typology angle (ITA, Chardon et al. 1991) of the source's mean skin color.

    Shape (N,), in degrees, range [-180, 180], neither end is better. NaN without skin, or below `MIN_SKIN_CHROMA`.

    Example:
        >>> source = torch.tensor([0.85, 0.65, 0.55])[:, None, None].expand(1, 3, 16, 16)
        >>> masks = torch.zeros(1, 4, 16, 16)
        >>> masks[:, 2] = 1
        >>> oval, has_face = torch.ones(1, 1, 16, 16, dtype=torch.bool), torch.tensor([True])
        >>> tone = SkinTone()(PairBatch(source, source, None, masks, oval, has_face))["skin_tone"]
        >>> round(float(tone))  # intermediate
        47
    """

    columns = (
        Column(
            name="skin_tone",
            unit="deg",
            low=-180,
            high=180,
            better="none",
            about="Individual typology angle of the source's skin: above 55 very light, 10 to 28 tan, below -30 dark; "
            "it is taken from the picture as it is, so the light of the scene moves it; gray skin has none.",
        ),
    )

    def __call__(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        """Return the angle of each source (N,)."""
        lab, skin = srgb_to_lab(batch.source), batch.region_mask("skin")
        lightness, a, b = (weighted_mean(lab[:, channel : channel + 1], skin) for channel in (0, 1, 2))
        tone = torch.rad2deg(torch.atan2(lightness - 50, b))
        return {"skin_tone": tone.where(torch.hypot(a, b) > MIN_SKIN_CHROMA, torch.nan)}


@dataclass(frozen=True)
class ToneGap:
    """Dependence of a metric on the skin tone of the sources, over pairs: a face in five styles counts five times.

    Attributes:
        gap: mean of the third of the pairs with the lightest skin minus the mean of the darkest third; pairs that share
            the tone at the border of a third all belong to it.
        spearman: Spearman's rank correlation with ITA.
    """

    gap: float
    spearman: float


def measure_tone_gap(values: np.ndarray, ita: np.ndarray, people: Sequence[str]) -> ToneGap:
    """Return how a metric (N,) depends on the skin tone (N,) of its pairs; pairs where either is NaN do not count.

    Args:
        values: the metric.
        ita: the skin tone in degrees.
        people: whose face each pair shows, N names.

    Returns:
        both numbers; NaN for fewer than `MIN_PEOPLE` people or where the thirds have the same tone. The correlation is
        NaN where the metric is constant, too.

    Example:
        >>> ita = np.arange(0.0, 60.0, 10.0)
        >>> gap = measure_tone_gap(0.1 * ita, ita, list("abcdef"))
        >>> round(gap.gap, 3), round(gap.spearman, 3)
        (4.0, 1.0)
    """
    is_known = np.isfinite(values) & np.isfinite(ita)
    values, ita = values[is_known], ita[is_known]
    if len(set(np.asarray(people, object)[is_known])) < MIN_PEOPLE:
        return ToneGap(np.nan, np.nan)
    dark, light = np.quantile(ita, [1 / 3, 2 / 3])
    if not dark < light:
        return ToneGap(np.nan, np.nan)
    gap = float(values[ita >= light].mean() - values[ita <= dark].mean())
    is_constant = len(np.unique(values)) < 2
    return ToneGap(gap, np.nan if is_constant else float(spearmanr(values, ita).statistic))


class SkinToneGaps:
    """Dependence on the skin tone of each column that has a better end or a band (:func:`measure_tone_gap`).

    0 is best. Empty for fewer than `MIN_PEOPLE` people.
    """

    requirement = ""
    uses_inception = False

    def __call__(self, pairs: PairSet) -> dict[Column, float]:
        """Return the gap and the rank correlation of each column."""
        values: dict[Column, float] = {}
        for column in pairs.columns.values():
            has_better_end = column.comparison == "target" and column.better not in ("none", "zero")
            if not (has_better_end or column.comparison == "oracle"):
                continue
            tone_gap = measure_tone_gap(pairs.numbers[column.full_name], pairs.numbers["skin_tone"], pairs.people)
            for tone_column, value in zip(make_tone_columns(column), (tone_gap.gap, tone_gap.spearman), strict=True):
                if not np.isnan(value):
                    values[tone_column] = value
        return values


def make_tone_columns(column: Column) -> tuple[Column, Column]:
    """Return the columns of the gap and of the rank correlation of a pair's column."""
    name = column.full_name
    gap = Column(
        name=f"tone_gap_{name}",
        unit=column.unit,
        low=-math.inf,
        high=math.inf,
        better="zero",
        about=f"{format_column(name)} of the third of the pairs with the lightest skin less that of the darkest third; "
        "styles and poses that fall unevenly on the thirds move it too.",
    )
    spearman = Column(
        name=f"tone_rank_{name}",
        unit="",
        low=-1,
        high=1,
        better="zero",
        about=f"Spearman's rank correlation of {format_column(name)} with the skin tone (ITA); it sees any monotonous "
        "trend, however slight.",
    )
    return gap, spearman
