"""The loop of a training: its updates and, between them, figures, pictures and points to resume from."""

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from dda.console import print_line
from dda.errors import UserError
from dda.tracking.tracker import Tracker
from dda.training.model_card import short
from dda.training.options import TrainerOptions
from dda.training.state import TrainingState


def run_updates(
    state: TrainingState[Any],
    train: TrainerOptions,
    tracker: Tracker,
    console: Console,
    update: Callable[[], float],
    look: Callable[[], object],
    save: Callable[[], None],
) -> None:
    """Run the updates that are left.

    Args:
        state: counts the updates.
        train: how many there are (``updates``), and how often to log, look and save (``*_every``).
        tracker: takes the loss and the learning rate.
        console: shows the progress.
        update: makes one update and returns its loss.
        look: measures and shows the averaged model.
        save: writes a point to resume from.

    Raises:
        UserError: the training diverged. (Float16, whose gradients are scaled, passes over such an update.)
    """
    with _progress(console) as progress:
        task = progress.add_task("train", total=train.updates, completed=state.update, loss="")
        while state.update < train.updates:
            loss = update()
            if state.scaler is None and not math.isfinite(loss):
                raise UserError(
                    f"train.learning_rate={train.learning_rate:g}: the loss is not finite after {state.update} "
                    "updates; take a lower rate, and another run_name"
                )
            progress.update(task, advance=1, loss=f"loss {loss:.4f}")
            if state.update % train.log_every == 0:
                rate = float(state.schedule.get_last_lr()[0])
                tracker.log({"loss": loss, "learning_rate": rate}, step=state.update)
            if state.update % train.checkpoint_every == 0 or state.update == train.updates:
                save()  # before a look, which may want more memory than there is
            if state.update % train.grid_every == 0 and state.update < train.updates:  # the last look is the caller's
                look()


def print_training_start(console: Console, pairs: int, styles: int, update: int, start: str) -> None:
    """Say what is trained on, and from where."""
    begun = f"going on after update {update}" if update else f"starting from {start}"
    print_line(
        f"{pairs} seed pair{'s' * (pairs != 1)} in {styles} style{'s' * (styles != 1)}; {begun}", console=console
    )


def print_training_summary(
    console: Console, figures: Mapping[str, float], checkpoint: Path, base: Sequence[str] = ()
) -> None:
    """Say what was measured, where the checkpoint is and how to amplify with it, on the model of settings ``base``."""
    for name, value in figures.items():
        print_line(f"{name}: {short(value)}", console=console)
    print_line(f"The checkpoint is in {checkpoint}; amplify with it:", console=console)
    command = ["python", "run_amplify.py", *base, f"model.checkpoint={checkpoint}", "style_set=checkpoint"]
    print_line(f"  {shlex.join(command)}", console=console)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeRemainingColumn(),
        console=console,
    )
