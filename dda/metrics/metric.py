"""What every metric has in common: the number it yields, and the pairs that it is given."""

import math
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from dda.regions import REGIONS


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
    """

    name: str
    unit: str
    low: float
    high: float
    better: str
    about: str
    weights: str = ""


@dataclass
class PairBatch:
    """Pairs of one picture size.

    Attributes:
        source: (N, 3, H, W) in [0, 1].
        target: (N, 3, H, W) in [0, 1].
        oracle: the true targets (N, 3, H, W) in [0, 1], where there are any.
        masks: region masks of the source (N, 4, H, W) in [0, 1], parsed from the finished file; 0 where it has no face.
        oval: the face oval (N, 1, H, W) bool, grown by `pair_loader.REACH`; False where there is no face.
        has_face: whether a face was found, (N,) bool.
    """

    source: torch.Tensor
    target: torch.Tensor
    oracle: torch.Tensor | None
    masks: torch.Tensor
    oval: torch.Tensor
    has_face: torch.Tensor

    def untouched(self) -> "PairBatch":
        """The identity baseline: the same faces with nothing painted."""
        return replace(self, target=self.source)

    @property
    def support(self) -> torch.Tensor:
        """M, the sum of the region masks, (N, 1, H, W) in [0, 1]."""
        return self.masks.sum(1, keepdim=True)

    def mask(self, region: str) -> torch.Tensor:
        """The mask (N, 1, H, W) of one region."""
        index = REGIONS.index(region)
        return self.masks[:, index : index + 1]


class Distance(Protocol):
    """How alike two pictures are, any two: source and target, or target and oracle."""

    column: Column

    def __call__(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """One number a pair (N,), of pictures (N, 3, H, W) in [0, 1]."""
        ...


class PairMetric(Protocol):
    """Numbers of a pair that need more than its two pictures."""

    @property
    def columns(self) -> tuple[Column, ...]: ...

    def __call__(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        """By column name, one number a pair (N,); NaN where it does not apply."""
        ...


class MissingWeights(Exception):
    """A metric that cannot be measured here; ``reason`` says in one line what is missing and how to get it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def weighted_mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Mean (N,) of values (N, 1, H, W) under weights (N, 1, H, W); NaN where the weights are all 0."""
    total = weights.sum((1, 2, 3))
    mean = (values * weights).sum((1, 2, 3)) / total
    return torch.where(total > 0, mean, math.nan)
