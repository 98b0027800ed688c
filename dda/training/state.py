"""Training state: everything that a stopped training needs to resume exactly."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel
from torch import nn

from dda.files import atomic_file

MAX_WARMUP_UPDATES = 50
"""Updates over which the learning rate rises from 0; in a short training, a tenth of its updates."""

Model = TypeVar("Model", bound=nn.Module)


@dataclass
class TrainingState(Generic[Model]):
    """A model in training, with everything that changes from update to update.

    Only parameters that require a gradient are optimized, averaged and saved.

    Attributes:
        model: the model with its current weights.
        ema: exponential moving average of the weights.
        optimizer: AdamW.
        lr_scheduler: linear warmup and cosine decay.
        generator: draws everything random in the training, on the CPU.
        updates_done: number of updates so far.
        scaler: scales the gradients of float16; None in other number formats.
    """

    model: Model
    ema: EMAModel
    optimizer: torch.optim.Optimizer
    lr_scheduler: torch.optim.lr_scheduler.LRScheduler
    generator: torch.Generator
    updates_done: int = 0
    scaler: torch.amp.GradScaler | None = None

    @classmethod
    def create(cls, model: Model, updates: int, learning_rate: float, ema: float, seed: int) -> "TrainingState[Model]":
        """Make the state before the first update.

        Args:
            model: the model with its initial weights.
            updates: number of updates of the whole training.
            learning_rate: the highest one.
            ema: decay of the average.
            seed: of ``generator``.
        """
        parameters = list(_trained_parameters(model).values())
        optimizer = torch.optim.AdamW(parameters, lr=learning_rate)
        warmup_updates = min(MAX_WARMUP_UPDATES, updates // 10)
        lr_scheduler = get_cosine_schedule_with_warmup(optimizer, warmup_updates, updates)
        generator = torch.Generator().manual_seed(seed)
        return cls(model, EMAModel(parameters, decay=ema), optimizer, lr_scheduler, generator)

    @property
    def trained_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that require a gradient, by name."""
        return _trained_parameters(self.model)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """Give the model its averaged weights, in evaluation mode, for the length of a ``with`` block."""
        parameters = list(self.trained_parameters.values())
        self.ema.store(parameters)
        self.ema.copy_to(parameters)
        self.model.eval()
        try:
            yield
        finally:
            self.ema.restore(parameters)
            self.model.train()

    def save(self, file: Path) -> None:
        """Write the state atomically: a killed process leaves the old file or the new one.

        Raises:
            OSError: the file cannot be written.
        """
        save_torch(
            file,
            {
                "model": {name: parameter.detach() for name, parameter in self.trained_parameters.items()},
                "ema": self.ema.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.lr_scheduler.state_dict(),
                "generator": self.generator.get_state(),
                "update": self.updates_done,
                "scaler": None if self.scaler is None else self.scaler.state_dict(),
            },
        )

    def load(self, file: Path) -> None:
        """Restore a saved state."""
        saved = torch.load(file, map_location="cpu", weights_only=True)
        for name, parameter in self.trained_parameters.items():
            parameter.data.copy_(saved["model"][name])
            device = parameter.device
        self.ema.load_state_dict(saved["ema"])
        self.ema.to(device)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.lr_scheduler.load_state_dict(saved["schedule"])
        self.generator.set_state(saved["generator"])
        self.updates_done = saved["update"]
        if self.scaler is not None:
            self.scaler.load_state_dict(saved["scaler"])


def save_torch(file: Path, content: Mapping[str, Any]) -> None:
    """Write a file of ``torch.save`` atomically: a killed process leaves the old file or the new one.

    Raises:
        OSError: the file cannot be written; nothing of it is left.
    """
    try:
        with atomic_file(file) as stream:
            torch.save(content, stream)
    except RuntimeError as error:  # torch wraps the error of a full disk
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def _trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
