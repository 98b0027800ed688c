"""Options that all trainers have."""

import math
from dataclasses import dataclass

from dda.options import SHARE, Choice, Limit, at_least, between, one_of, option

POSITIVE = Limit("a finite number above 0", lambda value: math.isfinite(value) and value > 0)


@dataclass(kw_only=True)
class TrainerOptions(Choice):
    """Length, optimizer and rhythm of a training; each model's trainer adds its own."""

    updates: int = option("Number of optimizer updates.", limit=at_least(1))
    batch_size: int = option("Pairs in one update.", limit=between(1, 1024))
    learning_rate: float = option("Highest learning rate; cosine decay to 0.", limit=POSITIVE)
    ema: float = option("Share of the averaged weights kept at each update.", limit=SHARE)
    precision: str = option(
        "Number format of the network: auto (bf16 or fp16 where the device is fast at it) | fp32 | bf16 | fp16.",
        limit=one_of("auto", "fp32", "bf16", "fp16"),
    )
    log_every: int = option("Updates between two rows of metrics.", limit=at_least(1), changes_output=False)
    grid_every: int = option("Updates between two validations.", limit=at_least(1), changes_output=False)
    checkpoint_every: int = option(
        "Updates between two states to resume from.", limit=at_least(1), changes_output=False
    )
