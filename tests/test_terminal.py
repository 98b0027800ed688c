from io import StringIO

from rich.console import Console

from dda.terminal import say


def test_a_long_path_stays_one_line_that_can_be_copied() -> None:
    printed = StringIO()
    path = "/pictures/" + "a long name " * 10 + "[red] :smile:/samples_visualization.png"
    say(f"Look at  {path}", console=Console(width=40, file=printed))
    assert printed.getvalue() == f"Look at  {path}\n"
