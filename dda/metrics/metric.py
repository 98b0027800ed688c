"""What every metric has in common: the number it yields, and the pairs that it is given."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch

from dda.regions import REGIONS

PREFIXES = {
    "target": "",
    "untouched": "baseline_",
    "oracle": "oracle_",
    "untouched_oracle": "untouched_oracle_",
    "made": "made_",
}
"""What the name of a column begins with, by the comparison that it holds: target with source, source with itself (the
identity baseline), target with oracle, source with oracle, and what was noted when the pair was composed."""


@dataclass(frozen=True)
class Column:
    """One number of a pair, or of a set of pairs, as tables and the report show it.

    Attributes:
        name: "ssim", "strength_lips", "leakage".
        unit: "", "dB", "dE00", "deg"; a share lies in [0, 1] and has no unit.
        low: least value it can have; may be infinite.
        high: greatest value it can have; may be infinite.
        better: "higher", "lower", "band" (neither too little nor too much), "zero" or "none" (it only describes).
        about: one sentence: what it measures, and what it cannot tell.
        weights: the learned weights it used; "" where there are none.
        comparison: which two pictures it compares, a key of `PREFIXES`.
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
        """Its name among the columns of all comparisons: "psnr", "baseline_psnr", "oracle_psnr"."""
        return PREFIXES[self.comparison] + self.name

    def compared(self, comparison: str) -> "Column":
        """Return the same number of another comparison."""
        return replace(self, comparison=comparison)


@dataclass
class PairBatch:
    """Pairs of one picture size.

    Attributes:
        source: (N, 3, H, W) in [0, 1].
        target: (N, 3, H, W) in [0, 1].
        oracle: the true targets (N, 3, H, W) in [0, 1], where there are any.
        masks: region masks of the source (N, 4, H, W) in [0, 1], parsed from the finished file; 0 where it has no face.
        oval: the face oval (N, 1, H, W) bool, grown by `pair_loader.OVAL_MARGIN_RATIO`; False where there is no face.
        has_face: whether a face was found, (N,) bool.
    """

    source: torch.Tensor
    target: torch.Tensor
    oracle: torch.Tensor | None
    masks: torch.Tensor
    oval: torch.Tensor
    has_face: torch.Tensor

    def untouched(self) -> "PairBatch":
        """Return the identity baseline: the same faces with nothing painted."""
        return replace(self, target=self.source)

    @property
    def support(self) -> torch.Tensor:
        """M, the sum of the region masks, (N, 1, H, W) in [0, 1]."""
        return self.masks.sum(1, keepdim=True)

    def mask(self, region: str) -> torch.Tensor:
        """Return the mask (N, 1, H, W) of one region."""
        index = REGIONS.index(region)
        return self.masks[:, index : index + 1]


@dataclass(frozen=True)
class PairSet:
    """Measured pairs, as metrics of the whole set take them; N pairs, in one order throughout.

    Attributes:
        columns: the columns of single pairs that were measured, by full name.
        numbers: (N,) of each of them, NaN where it does not apply.
        changes: mean CIELAB change of each region (N, 4, 3), NaN where a face lacks it.
        styles: N names; empty where unknown.
        people: whose face each pair shows, N names.
        features: Inception's features of each pair (2048,), by "source", "target" and "oracle"; empty where not used.
        seed: of what is drawn at random.
    """

    columns: Mapping[str, Column]
    numbers: Mapping[str, np.ndarray]
    changes: np.ndarray
    styles: Sequence[str]
    people: Sequence[str]
    features: Sequence[Mapping[str, torch.Tensor]]
    seed: int


class Distance(Protocol):
    """How alike two pictures are, any two: source and target, or target and oracle."""

    column: Column

    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return one number for each pair (N,), of pictures (N, 3, H, W) in [0, 1]."""
        ...


class PairMetric(Protocol):
    """Numbers of a pair that need more than its two pictures."""

    @property
    def columns(self) -> tuple[Column, ...]: ...

    def __call__(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        """Return by column name one number for each pair (N,); NaN where it does not apply."""
        ...


class SetMetric(Protocol):
    """Numbers of a set of pairs as a whole.

    Attributes:
        needs: what it needs, in words for where it has no value.
    """

    needs: str

    def __call__(self, pairs: PairSet) -> dict[Column, float]:
        """Return the numbers that have a meaning for this set; none where it is too small."""
        ...


class MissingWeights(Exception):
    """A metric that cannot be measured here; ``reason`` says in one line what is missing and how to get it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def weighted_mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the mean (N,) of values (N, 1, H, W) under weights (N, 1, H, W); NaN where the weights are all 0."""
    total = weights.sum((1, 2, 3))
    mean = (values * weights).sum((1, 2, 3)) / total
    return torch.where(total > 0, mean, math.nan)
