"""Skin tone as a continuous axis, and whether a metric depends on it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import spearmanr

from dda.metrics.color import srgb_to_lab
from dda.metrics.labels import column_label
from dda.metrics.metric import Column, PairBatch, PairSet, weighted_mean

MIN_SKIN_CHROMA = 3.0
"""Chroma (CIELAB) up to which skin is that of a picture without colors, whose angle would be that of noise."""

MIN_PEOPLE = 6
"""How many it takes to speak of thirds: of fewer, one person less another would be the gap."""


class SkinTone:
    """ITA (individual typology angle, Chardon et al. 1991) of the source's mean skin color, in degrees."""

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
        """Return ITA (N,) in degrees; NaN where there is no skin, or none with a color."""
        lab, skin = srgb_to_lab(batch.source), batch.mask("skin")
        light, red, yellow = (weighted_mean(lab[:, channel : channel + 1], skin) for channel in (0, 1, 2))
        tone = torch.rad2deg(torch.atan2(light - 50, yellow))
        return {"skin_tone": tone.where(torch.hypot(red, yellow) > MIN_SKIN_CHROMA, torch.nan)}


@dataclass(frozen=True)
class ToneGap:
    """How a metric goes with the skin tone of the sources, over pairs: a face in five styles counts five times.

    Attributes:
        gap: mean of the third of the pairs with the lightest skin less that of the third with the darkest; pairs that
            share the tone at the border of a third all belong to it.
        spearman: Spearman's rank correlation with ITA.
    """

    gap: float
    spearman: float


def tone_gap(values: np.ndarray, ita: np.ndarray, people: Sequence[str]) -> ToneGap:
    """Return how a metric (N,) goes with the skin tone (N,) of its pairs; pairs where either is NaN do not count.

    ``people`` names whose face each pair shows. Both numbers are NaN for fewer than :data:`MIN_PEOPLE` or where no
    third is darker than another, and Spearman's where the metric is constant.
    """
    known = np.isfinite(values) & np.isfinite(ita)
    values, ita = values[known], ita[known]
    if len(set(np.asarray(people, object)[known])) < MIN_PEOPLE:
        return ToneGap(np.nan, np.nan)
    dark, light = np.quantile(ita, [1 / 3, 2 / 3])
    if not dark < light:
        return ToneGap(np.nan, np.nan)
    gap = float(values[ita >= light].mean() - values[ita <= dark].mean())
    varied = len(np.unique(values)) > 1
    return ToneGap(gap, float(spearmanr(values, ita).statistic) if varied else np.nan)


class SkinToneGaps:
    """How each measured column that has a good end or a band goes with skin tone, a :class:`SetMetric`."""

    needs = "it needs pairs of at least six people, some with darker skin than others"

    def __call__(self, pairs: PairSet) -> dict[Column, float]:
        """Return the gap and the rank correlation of each column (:func:`tone_gap`) where they are known."""
        found: dict[Column, float] = {}
        for column in pairs.columns.values():
            is_judged = column.comparison == "target" and column.better not in ("none", "zero")
            if not (is_judged or column.comparison == "oracle"):
                continue
            gap = tone_gap(pairs.numbers[column.full_name], pairs.numbers["skin_tone"], pairs.people)
            for tone_column, value in zip(tone_columns(column), (gap.gap, gap.spearman), strict=True):
                if not np.isnan(value):
                    found[tone_column] = value
        return found


def tone_columns(column: Column) -> tuple[Column, Column]:
    """Return the columns of the gap and of the rank correlation of a pair's column."""
    name = column.full_name
    gap = Column(
        name=f"tone_gap_{name}",
        unit=column.unit,
        low=-math.inf,
        high=math.inf,
        better="zero",
        about=f"{column_label(name)} of the third of the pairs with the lightest skin less that of the darkest third; "
        "styles and poses that fall unevenly on the thirds move it too.",
    )
    spearman = Column(
        name=f"tone_rank_{name}",
        unit="",
        low=-1,
        high=1,
        better="zero",
        about=f"Spearman's rank correlation of {column_label(name)} with the skin tone (ITA); it sees any monotonous "
        "trend, however slight.",
    )
    return gap, spearman
