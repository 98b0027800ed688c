"""The terminal: all that a person sees of a run while it goes on and when it ends."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from dda.errors import describe_error

CONSOLE = Console()


def print_line(text: str, style: str = "", console: Console = CONSOLE) -> None:
    """Print text as it is: no line is folded, so that a path or a command can be copied, and nothing is markup."""
    console.print(Text(text, style), soft_wrap=True)


def pairs_progress() -> Progress:
    """A bar with the pairs done, their speed and the time that remains."""
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _PairsPerSecond(),
        TimeRemainingColumn(),
        console=CONSOLE,
    )


class _PairsPerSecond(ProgressColumn):
    """Speed of the task: of late, and from beginning to end once it is finished."""

    def render(self, task: Task) -> Text:
        speed = task.completed / task.finished_time if task.finished_time else task.speed
        return Text(f"{speed:.1f} pairs/s" if speed else "- pairs/s", style="cyan")


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
