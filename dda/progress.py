"""The progress bar of jobs that count pairs."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text


class _PairsPerSecond(ProgressColumn):
    """Speed of the task."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} pairs/s" if task.speed else "- pairs/s", style="cyan")


def pairs_progress(console: Console) -> Progress:
    """A bar with the pairs done, their speed and the time that remains."""
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _PairsPerSecond(),
        TimeRemainingColumn(),
        console=console,
    )
