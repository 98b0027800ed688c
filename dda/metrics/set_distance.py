"""Distances of whole sets of pictures, such as FID and KID: which sets are compared."""

from collections.abc import Callable
from dataclasses import replace

import torch

from dda.metrics.metric import Column, PairSet


def measure_set_distance(
    column: Column, distance: Callable[[torch.Tensor, torch.Tensor], float], pairs: PairSet
) -> dict[Column, float]:
    """Return the distance of the targets to the oracle, beside the sources' own; without an oracle to the sources.

    Where some of the pairs have an oracle, those alone count: another choice of people is a distance too.

    Args:
        column: of the distance.
        distance: of two sets of features (N, D) and (M, D).
        pairs: the set.
    """
    true = [features for features in pairs.features if "oracle" in features]
    compared = true or list(pairs.features)
    if len(compared) < 2:
        return {}
    features = {side: torch.stack([one[side] for one in compared]) for side in compared[0]}
    if not true:
        to_source = replace(
            column, better="none", about=f"Taken to the sources: 0 where nothing is painted. {column.about}"
        )
        return {to_source: distance(features["source"], features["target"])}
    untouched = replace(
        column, name=f"untouched_{column.name}", about=f"The same of the untouched sources. {column.about}"
    )
    return {
        column: distance(features["oracle"], features["target"]),
        untouched: distance(features["oracle"], features["source"]),
    }
