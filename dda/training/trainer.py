"""Trainer: the steps that the trainings of all models share."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import nn

from dda.console import CONSOLE, print_line
from dda.errors import OptionError
from dda.pairs.run_files import CHECKPOINT, STATE
from dda.pairs.settings import store_or_check_settings
from dda.report.samples import samples_visualization
from dda.tracking.tracker import Tracker
from dda.training.options import TrainerOptions
from dda.training.state import TrainingState
from dda.training.training_data import TrainingData
from dda.training.validation import Validation, Validator

MAX_GRADIENT_NORM = 1.0
"""Norm that gradients are clipped to."""


class Trainer(ABC):
    """Trains a model on seed pairs.

    A training is a call of :meth:`setup`, :meth:`resume` and :meth:`fit`, in this order. Subclasses say what the model
    is, what an update minimizes, how the model is validated and what a checkpoint holds.

    Args:
        options: length, optimizer and rhythm.
        seed: root seed of everything random in the training.
        device: where to train.

    Attributes:
        console: where progress is shown.
        is_main_process: whether this process writes files and shows progress; False in all but one of several
            processes that train together.
    """

    console: Console = CONSOLE
    is_main_process: bool = True
    data: TrainingData
    state: TrainingState[Any]
    validator: Validator
    folder: Path
    tracker: Tracker

    def __init__(self, options: TrainerOptions, seed: int, device: torch.device) -> None:
        self.options = options
        self.seed = seed
        self.device = device

    # --- What a model's trainer defines ---

    @property
    @abstractmethod
    def precision(self) -> str:
        """Number format of the training, as it must match on resume."""

    @property
    @abstractmethod
    def initial_weights(self) -> str:
        """What the training starts from, for the log and the model card."""

    @abstractmethod
    def model_settings(self) -> dict[str, object]:
        """Return the options of the model that decide the trained weights, as they must match on resume."""

    @abstractmethod
    def build_model(self) -> nn.Module:
        """Load the initial weights on the device; parameters to train require a gradient.

        Raises:
            OptionError: the weights to start from cannot be used.
        """

    @abstractmethod
    def prepare_batches(self) -> None:
        """Prepare the pairs for :meth:`compute_loss`."""

    @abstractmethod
    def compute_loss(self) -> torch.Tensor:
        """Draw a batch and return its mean loss, a scalar."""

    @abstractmethod
    def run_validation(self) -> Validation:
        """Validate the model with its current weights."""

    @abstractmethod
    def save_checkpoint(self, folder: Path, metrics: Mapping[str, float]) -> None:
        """Write the checkpoint with its model card; the model has its averaged weights."""

    def describe(self) -> dict[str, object]:
        """Return how the model was trained, by name, for the model card."""
        return {
            "pairs": f"{len(self.data.pairs)} in {len(self.data.styles)} styles",
            "updates": f"{self.options.updates} of {self.options.batch_size} pairs",
            "started from": self.initial_weights,
            "learning rate": f"{self.options.learning_rate:g}, cosine decay",
            "seed": self.seed,
        }

    # --- What training on several devices replaces ---

    def optimizer_step(self, loss: torch.Tensor) -> bool:
        """Take a step of the optimizer, with clipped gradients; return whether it was taken."""
        self.state.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.state.trained_parameters.values(), MAX_GRADIENT_NORM)
        self.state.optimizer.step()
        return True

    def average_loss(self, loss: torch.Tensor) -> float:
        """Return the mean of a loss over all processes."""
        return loss.item()

    # --- The steps of a training ---

    def setup(self, data: TrainingData) -> None:
        """Load the model to train.

        Raises:
            OptionError: the weights to start from cannot be used.
        """
        torch.manual_seed(self.seed)
        self.data = data
        options = self.options
        self.state = TrainingState.create(
            self.build_model(), options.updates, options.learning_rate, options.ema, self.seed
        )
        self.validator = Validator(data.validation_pairs, data.styles, data.validation_split, self.seed)

    def resume(self, folder: Path, settings: Mapping[str, Any]) -> None:
        """Begin a training in a run folder, or restore the state of the one that stopped there.

        Args:
            folder: the run folder.
            settings: everything that decides the trained weights, by key.

        Raises:
            OptionError: the folder has a training with other settings.
        """
        self.folder = folder
        if self.is_main_process:
            store_or_check_settings(folder, settings)
        if (folder / STATE).exists():
            self.state.load(folder / STATE)

    def fit(self, tracker: Tracker) -> dict[str, float]:
        """Run the remaining updates, validate, and write the checkpoint.

        Args:
            tracker: logs losses, metrics and validation pictures.

        Returns:
            The metrics of the averaged weights; empty in all but the main process.

        Raises:
            OptionError: the training diverged.
        """
        self.tracker = tracker
        self._print_start()
        self.prepare_batches()
        self.state.model.train()
        with _progress_bar(self.console) as progress:
            task = progress.add_task("train", total=self.options.updates, completed=self.state.updates_done, loss="")
            while self.state.updates_done < self.options.updates:
                loss = self._update()
                progress.update(task, advance=1, loss=f"loss {loss:.4f}")
                self._follow_update(loss)
        metrics: dict[str, float] = {}
        if self.is_main_process:
            with self.state.averaged_weights():
                metrics = self._validate()
                self.save_checkpoint(self.folder / CHECKPOINT, metrics)
            tracker.summary(metrics)
        return metrics

    def _update(self) -> float:
        """Make one update; return its loss."""
        loss = self.compute_loss()
        if self.optimizer_step(loss):
            self.state.lr_scheduler.step()
            self.state.ema.step(self.state.trained_parameters.values())
        self.state.updates_done += 1
        mean_loss = self.average_loss(loss)
        # A scaler of float16 skips such an update and goes on with a smaller scale.
        if self.state.scaler is None and not math.isfinite(mean_loss):
            raise OptionError(
                "learning_rate",
                f"the loss is not finite after {self.state.updates_done} updates; start again with a lower rate and "
                "another run_name",
                f"{self.options.learning_rate:g}",
            )
        return mean_loss

    def _follow_update(self, loss: float) -> None:
        """Log, save the state and validate after an update, each at its interval."""
        options, done = self.options, self.state.updates_done
        if done % options.log_every == 0:
            learning_rate = float(self.state.lr_scheduler.get_last_lr()[0])
            self.tracker.log({"loss": loss, "learning_rate": learning_rate}, step=done)
        if not self.is_main_process:
            return
        if done % options.checkpoint_every == 0 or done == options.updates:
            self.state.save(self.folder / STATE)  # before a validation, which may need more memory than there is
        if done % options.grid_every == 0 and done < options.updates:  # the last validation follows the loop
            with self.state.averaged_weights():
                self._validate()

    def _validate(self) -> dict[str, float]:
        validation = self.run_validation()
        updates_done = self.state.updates_done
        self.tracker.log(validation.metrics, step=updates_done)
        grid = partial(samples_visualization, validation.rows)
        self.tracker.log_image("progress", grid, caption=f"update {updates_done}")
        return dict(validation.metrics)

    def _print_start(self) -> None:
        pairs, styles, done = len(self.data.pairs), len(self.data.styles), self.state.updates_done
        start = f"resuming after update {done}" if done else f"starting from {self.initial_weights}"
        text = f"{pairs} seed pair{'s' * (pairs != 1)} in {styles} style{'s' * (styles != 1)}; {start}"
        print_line(text, console=self.console)


def _progress_bar(console: Console) -> Progress:
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
        console=console,
    )
