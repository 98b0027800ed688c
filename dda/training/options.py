"""Options that all trainers have."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dda.options import SHARE, Choice, Limit, at_least, between, one_of, option

if TYPE_CHECKING:  # torch takes seconds to import
    import torch

    from dda.models.options import ModelOptions
    from dda.training.trainer import Trainer

POSITIVE = Limit("a finite number above 0", lambda value: math.isfinite(value) and value > 0)


@dataclass(kw_only=True)
class TrainerOptions(Choice, ABC):
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

    @abstractmethod
    def open(self, model: "ModelOptions", seed: int, device: "torch.device") -> "Trainer":
        """Make the trainer of a model, checking what can be checked before pairs are read and weights are loaded.

        Args:
            model: options of the model to train.
            seed: root seed of everything random in the training.
            device: where to train.

        Raises:
            OptionError: an option of the trainer is not possible on this machine, or with this model.
            UserError: a package that training needs is not installed.
        """
