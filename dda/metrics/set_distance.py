"""Distances of sets of pictures, such as FID and KID: which sets are compared."""

from collections.abc import Callable
from dataclasses import replace

import torch

from dda.metrics.metric import Column, PairSet

REQUIREMENT = "it needs at least two pairs, with an oracle where one was given"
"""What a set must have for any distance."""


def measure_set_distance(
    column: Column, distance: Callable[[torch.Tensor, torch.Tensor], float], pairs: PairSet
) -> dict[Column, float]:
    """Return the distance of the targets to the oracle, beside that of the sources; without an oracle to the sources.

    Where only some of the pairs have an oracle, the others are left out, since other people are a distance too.

    Args:
        column: the column of the distance to the oracle.
        distance: measures two sets of features (N, D) and (M, D).
        pairs: the set.

    Returns:
        the values by column; empty for fewer than two pairs.
    """
    with_oracle = [features for features in pairs.features if "oracle" in features]
    compared = with_oracle or list(pairs.features)
    if len(compared) < 2:
        return {}
    features = {side: torch.stack([one[side] for one in compared]) for side in compared[0]}
    if not with_oracle:
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
