"""Interfaces of the metrics: the columns that they fill, and the pairs that they measure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from dda.regions import REGIONS

COLUMN_PREFIXES = {
    "target": "",
    "untouched": "baseline_",
    "oracle": "oracle_",
    "untouched_oracle": "untouched_oracle_",
    "made": "made_",
}
"""Prefix of a column's full name, by the comparison whose values the column holds.

- ``target``: target with source
- ``untouched``: source with itself, the identity baseline
- ``oracle``: target with oracle
- ``untouched_oracle``: source with oracle
- ``made``: none; the manifest's value, which the amplification measured
"""


@dataclass(frozen=True)
class Column:
    """One value of a pair, or of a set of pairs, as tables and the report show it.

    Attributes:
        name: "ssim", "strength_lips", "leakage".
        unit: "", "dB", "dE00", "deg" or "px"; a share lies in [0, 1] and has no unit.
        low: smallest possible value; may be infinite.
        high: largest possible value; may be infinite.
        better: "higher", "lower", "band" (neither too little nor too much), "zero" or "none" (it only describes).
        about: what it measures and what it cannot tell, in one sentence.
        weights: name of the learned weights; "" without any.
        comparison: which two pictures it compares, a key of `COLUMN_PREFIXES`.

    Example:
        >>> column = Column("psnr", "dB", 0, 100, "none", "Peak signal-to-noise ratio.")
        >>> column.full_name, column.with_comparison("oracle").full_name
        ('psnr', 'oracle_psnr')
    """

    name: str
    unit: str
    low: float
    high: float
    better: str
    about: str
    weights: str = ""
    comparison: str = "target"

    @property
    def full_name(self) -> str:
        """Name among the columns of all comparisons: "psnr", "baseline_psnr", "oracle_psnr"."""
        return COLUMN_PREFIXES[self.comparison] + self.name

    def with_comparison(self, comparison: str) -> "Column":
        """Return the column that holds the same metric for another comparison."""
        return replace(self, comparison=comparison)


@dataclass
class PairBatch:
    """Pairs of one picture size.

    Attributes:
        source: (N, 3, H, W) in [0, 1].
        target: (N, 3, H, W) in [0, 1].
        oracle: the true targets (N, 3, H, W) in [0, 1]; None without an oracle.
        masks: region masks (N, 4, H, W) in [0, 1], parsed from the finished source; 0 without a face.
        oval: the face oval (N, 1, H, W) bool, grown by `pair_loader.OVAL_MARGIN_RATIO`; False without a face.
        has_face: whether a face was found, (N,) bool.
    """

    source: torch.Tensor
    target: torch.Tensor
    oracle: torch.Tensor | None
    masks: torch.Tensor
    oval: torch.Tensor
    has_face: torch.Tensor

    def without_makeup(self) -> "PairBatch":
        """Return the identity baseline: the same sources as their own targets."""
        return replace(self, target=self.source)

    @property
    def total_mask(self) -> torch.Tensor:
        """Sum of the region masks, (N, 1, H, W) in [0, 1]."""
        return self.masks.sum(1, keepdim=True)

    def region_mask(self, region: str) -> torch.Tensor:
        """Return the mask (N, 1, H, W) of one region."""
        index = REGIONS.index(region)
        return self.masks[:, index : index + 1]


@dataclass(frozen=True)
class PairSet:
    """N measured pairs, the input of metrics of the whole set; every field has the same order.

    Attributes:
        columns: the measured columns of single pairs, by full name.
        numbers: the values (N,) of each column by full name, NaN where it does not apply.
        color_changes: mean CIELAB change of each region (N, 4, 3), NaN where a face lacks it.
        styles: N names; empty where unknown.
        people: whose face each pair shows, N names.
        features: Inception's features (2048,) of each pair, by "source", "target" and "oracle"; empty if not computed.
        seed: of random draws.
    """

    columns: Mapping[str, Column]
    numbers: Mapping[str, np.ndarray]
    color_changes: np.ndarray
    styles: Sequence[str]
    people: Sequence[str]
    features: Sequence[Mapping[str, torch.Tensor]]
    seed: int


class Distance(Protocol):
    """Distance or similarity of any two pictures: source and target, or target and oracle.

    Attributes:
        column: where it is written.
        oracle_better: the better end of the distance to an oracle, "higher" or "lower"; "" where it is not measured.
    """

    column: Column
    oracle_better: str

    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return one value for each pair (N,), of pictures (N, 3, H, W) in [0, 1]."""
        ...


class PairMetric(Protocol):
    """Values of a pair that need its masks, besides its two pictures.

    Attributes:
        columns: where they are written.
    """

    @property
    def columns(self) -> tuple[Column, ...]: ...

    def __call__(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        """Return one value for each pair (N,), by name of the column; NaN where it does not apply."""
        ...


class SetMetric(Protocol):
    """Values of a set of pairs as a whole.

    Attributes:
        requirement: what a set must have, for the report where it has too little; "" where that is not reported.
        uses_inception: whether it compares `PairSet.features`.
    """

    requirement: str
    uses_inception: bool

    def __call__(self, pairs: PairSet) -> dict[Column, float]:
        """Return the values by column; an empty mapping where the set does not meet the requirement."""
        ...


class MissingWeights(Exception):
    """A metric that cannot be measured here; ``reason`` says in one line what is missing and how to get it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def weighted_mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the mean (N,) of values (N, 1, H, W) under weights (N, 1, H, W); NaN where all weights are 0.

    Example:
        >>> values = torch.tensor([1.0, 3.0, 9.0]).reshape(1, 1, 1, 3)
        >>> weighted_mean(values, torch.tensor([1.0, 1.0, 0.0]).reshape(1, 1, 1, 3))
        tensor([2.])
    """
    total = weights.sum((1, 2, 3))
    mean = (values * weights).sum((1, 2, 3)) / total
    return torch.where(total > 0, mean, math.nan)
