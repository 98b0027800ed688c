"""Training state: all that a stopped training needs to go on as if it had not stopped."""

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

WARMUP = 50
"""Updates over which the learning rate rises from 0."""

Model = TypeVar("Model", bound=nn.Module)


@dataclass
class TrainingState(Generic[Model]):
    """Model, averaged weights, optimizer, learning rate and random numbers after ``update`` updates.

    Only the weights that are trained (``requires_grad``) are optimized, averaged and saved. ``scaler`` is there where
    the gradients of float16 are scaled.
    """

    model: Model
    ema: EMAModel
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    generator: torch.Generator
    update: int = 0
    scaler: torch.amp.GradScaler | None = None

    @classmethod
    def start(cls, model: Model, updates: int, learning_rate: float, ema: float, seed: int) -> "TrainingState[Model]":
        """The state before the first of ``updates`` updates; ``generator`` draws all that is random in training."""
        trained = list(_trained(model).values())
        optimizer = torch.optim.AdamW(trained, lr=learning_rate)
        schedule = get_cosine_schedule_with_warmup(optimizer, min(WARMUP, updates // 10), updates)
        return cls(model, EMAModel(trained, decay=ema), optimizer, schedule, torch.Generator().manual_seed(seed))

    @property
    def trained(self) -> dict[str, nn.Parameter]:
        """The weights that are trained, by name."""
        return _trained(self.model)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the model have its averaged weights for the length of a ``with`` block, ready to sample."""
        trained = list(self.trained.values())
        self.ema.store(trained)
        self.ema.copy_to(trained)
        self.model.eval()
        try:
            yield
        finally:
            self.ema.restore(trained)
            self.model.train()

    def save(self, file: Path) -> None:
        """Write the state so that a killed process leaves the old one or the new one, never half of one."""
        save_torch(
            file,
            {
                "model": {name: parameter.detach() for name, parameter in self.trained.items()},
                "ema": self.ema.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "generator": self.generator.get_state(),
                "update": self.update,
                "scaler": None if self.scaler is None else self.scaler.state_dict(),
            },
        )

    def load(self, file: Path) -> None:
        """Take over a saved state."""
        saved = torch.load(file, map_location="cpu", weights_only=True)
        for name, parameter in self.trained.items():
            parameter.data.copy_(saved["model"][name])
            device = parameter.device
        self.ema.load_state_dict(saved["ema"])
        self.ema.to(device)
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        self.generator.set_state(saved["generator"])
        self.update = saved["update"]
        if self.scaler is not None:
            self.scaler.load_state_dict(saved["scaler"])


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def save_torch(file: Path, content: Mapping[str, Any]) -> None:
    """Write a torch file so that a killed process leaves the old one or the new one, never half of one.

    Raises:
        OSError: it cannot be written; nothing of it is left then.
    """
    try:
        with atomic_file(file) as stream:
            torch.save(content, stream)
    except RuntimeError as error:  # in which torch, in words of its own, tells of a full disk
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
