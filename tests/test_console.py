import re
from io import StringIO

from rich.console import Console

from dda.console import CONSOLE, LOG_INTERVAL_S, pairs_progress, print_line


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


def test_a_log_file_gets_a_line_every_half_minute() -> None:
    printed = StringIO()
    seconds = 0.0
    progress = pairs_progress(Console(file=printed, width=40), get_time=lambda: seconds)
    task = progress.add_task("amplify", total=400)
    for done in range(1, 61):
        seconds = float(done)
        progress.update(task, completed=done)
    lines = printed.getvalue().splitlines()
    assert len(lines) == 60 // LOG_INTERVAL_S
    assert lines[0].startswith("amplify: 30 of 400 pairs, 1.0 pairs/s, 0:06:")


def test_a_terminal_gets_a_bar_and_no_lines() -> None:
    printed = StringIO()
    times = iter(range(0, 10_000, 100))
    progress = pairs_progress(Console(file=printed, force_terminal=True), get_time=lambda: next(times))
    progress.update(progress.add_task("amplify", total=4), completed=2)
    assert printed.getvalue() == ""
