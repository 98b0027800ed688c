"""Results of evaluations by their parts, as metrics.json has them."""

from collections.abc import Mapping
from typing import Any

from dda.evaluation.result import Result, Statistic
from dda.metrics.metric import PREFIXES, Column

COMPARISONS = {
    "values": "target",
    "baseline": "untouched",
    "against_oracle": "oracle",
    "untouched_against_oracle": "untouched_oracle",
    "made": "made",
}


def numbers(**parts: Mapping[str, float]) -> dict[str, float]:
    """The numbers of a pair: ``numbers(values={"psnr": 30}, baseline={"psnr": 100})``."""
    return {PREFIXES[COMPARISONS[part]] + name: value for part, found in parts.items() for name, value in found.items()}


def part(found: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The part of numbers or statistics that one comparison has, by short name."""
    own = PREFIXES[COMPARISONS[name]]
    others = [prefix for prefix in PREFIXES.values() if prefix and prefix != own]
    return {
        key.removeprefix(own): value
        for key, value in found.items()
        if key.startswith(own)
        and not any(key.startswith(other) for other in others if not own or len(other) > len(own))
    }


def make_result(
    columns: Mapping[str, Column],
    overall: Mapping[str, Statistic],
    oracle_columns: Mapping[str, Column] | None = None,
    baseline: Mapping[str, Statistic] | None = None,
    against_oracle: Mapping[str, Statistic] | None = None,
    untouched_against_oracle: Mapping[str, Statistic] | None = None,
    **others: Any,
) -> Result:
    """A result whose columns and statistics are given by comparison."""
    every = [
        *(column.compared(comparison) for comparison in ("target", "untouched") for column in columns.values()),
        *(
            column.compared(comparison)
            for comparison in ("oracle", "untouched_oracle")
            for column in (oracle_columns or {}).values()
        ),
    ]
    statistics = {
        **overall,
        **{f"baseline_{name}": value for name, value in (baseline or {}).items()},
        **{f"oracle_{name}": value for name, value in (against_oracle or {}).items()},
        **{f"untouched_oracle_{name}": value for name, value in (untouched_against_oracle or {}).items()},
    }
    return Result(columns={column.full_name: column for column in every}, statistics=statistics, **others)
