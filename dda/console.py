"""The terminal: all that a person sees of a run while it goes on and when it ends."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from dda.errors import describe_error

CONSOLE = Console()

LOG_INTERVAL_S = 30.0
"""Seconds between two lines of progress where there is no terminal."""


def print_line(text: str, style: str = "", console: Console = CONSOLE) -> None:
    """Print text as it is: no line is folded, so that a path or a command can be copied, and nothing is markup."""
    console.print(Text(text, style), soft_wrap=True)


class PairsProgress(Progress):
    """A bar in a terminal; elsewhere, as in a job's log file, a line every `LOG_INTERVAL_S` seconds."""

    def __init__(self, *columns: ProgressColumn, console: Console, get_time: Callable[[], float]) -> None:
        super().__init__(*columns, console=console, get_time=get_time)
        self._last_line_s = self.get_time()

    def update(self, task_id: TaskID, **fields: Any) -> None:
        """Update a task as rich does, and print the line where it is due."""
        super().update(task_id, **fields)
        now_s = self.get_time()
        if self.console.is_terminal or now_s - self._last_line_s < LOG_INTERVAL_S:
            return
        self._last_line_s = now_s
        task = self._tasks[task_id]
        remaining = f", {timedelta(seconds=task.time_remaining)} left" if task.time_remaining is not None else ""
        done = (
            f"{task.completed:.0f} of {task.total:.0f} pairs" if task.total is not None else f"{task.completed} pairs"
        )
        print_line(f"{task.description}: {done}, {_format_speed(task)}{remaining}", console=self.console)


def pairs_progress(console: Console = CONSOLE, get_time: Callable[[], float] = time.monotonic) -> PairsProgress:
    """Return a display of the pairs done, their speed and the time that remains."""
    return PairsProgress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _PairsPerSecond(),
        TimeRemainingColumn(),
        console=console,
        get_time=get_time,
    )


class _PairsPerSecond(ProgressColumn):
    """Speed of the task: of late, and from beginning to end once it is finished."""

    def render(self, task: Task) -> Text:
        return Text(_format_speed(task), style="cyan")


def _format_speed(task: Task) -> str:
    speed = task.completed / task.finished_time if task.finished_time else task.speed
    return f"{speed:.1f} pairs/s" if speed else "- pairs/s"


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """End a command that Hydra does not run with one line on standard error, if the user is at fault.

    Raises:
        SystemExit: with that line.
    """
    try:
        yield
    except Exception as error:
        if line := describe_error(error):
            raise SystemExit(f"dda: {line}") from error
        raise
