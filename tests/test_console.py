import re
from io import StringIO

from rich.console import Console

from dda.console import CONSOLE, pairs_progress, print_line


def test_a_long_path_stays_one_line_that_can_be_copied() -> None:
    printed = StringIO()
    path = "/pictures/" + "a long name " * 10 + "[red] :smile:/samples_visualization.png"
    print_line(f"Look at  {path}", console=Console(width=40, file=printed))
    assert printed.getvalue() == f"Look at  {path}\n"


def test_a_finished_bar_tells_the_speed_from_beginning_to_end() -> None:
    with CONSOLE.capture() as printed, pairs_progress() as progress:
        task = progress.add_task("amplify", total=20)
        progress.update(task, completed=20)  # at once, so that there is no speed in between
    assert re.search(r"20/20 [1-9]\d*\.\d pairs/s", printed.get())
