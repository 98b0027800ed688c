"""Training state: all that a stopped training needs to go on as if it had not stopped."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel

from dda.models.compact import CompactResidualModel

WARMUP = 50
"""Updates over which the learning rate rises from 0."""


@dataclass
class TrainingState:
    """Model, averaged weights, optimizer, learning rate and random numbers after ``update`` updates."""

    model: CompactResidualModel
    ema: EMAModel
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    generator: torch.Generator
    update: int = 0

    @classmethod
    def start(
        cls, model: CompactResidualModel, updates: int, learning_rate: float, ema: float, seed: int
    ) -> "TrainingState":
        """The state before the first of ``updates`` updates; ``generator`` draws all that is random in training."""
        optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
        schedule = get_cosine_schedule_with_warmup(optimizer, min(WARMUP, updates // 10), updates)
        average = EMAModel(model.parameters(), decay=ema)
        return cls(model, average, optimizer, schedule, torch.Generator().manual_seed(seed))

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Let the model have its averaged weights for the length of a ``with`` block, ready to sample."""
        self.ema.store(self.model.parameters())
        self.ema.copy_to(self.model.parameters())
        self.model.eval()
        try:
            yield
        finally:
            self.ema.restore(self.model.parameters())
            self.model.train()

    def save(self, file: Path) -> None:
        """Write the state so that a killed process leaves the old one or the new one, never half of one."""
        waiting = file.with_suffix(".tmp")
        torch.save(
            {
                "model": self.model.state_dict(),
                "ema": self.ema.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "generator": self.generator.get_state(),
                "update": self.update,
            },
            waiting,
        )
        waiting.replace(file)

    def load(self, file: Path) -> None:
        """Take over a saved state."""
        saved = torch.load(file, map_location="cpu", weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.ema.load_state_dict(saved["ema"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        self.generator.set_state(saved["generator"])
        self.update = saved["update"]
