import os

import pytest

from dda.system.native_stderr import STDERR, drop_stderr_line


def test_one_line_is_dropped_and_the_others_are_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with drop_stderr_line("INFO: ready"):
        os.write(STDERR, b"WARNING: slow\nINFO: ready\nINFO: ready to go\n")
    os.write(STDERR, b"INFO: ready\n")
    assert capfd.readouterr().err == "WARNING: slow\nINFO: ready to go\nINFO: ready\n"


def test_what_a_failing_block_wrote_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="failed"), drop_stderr_line("INFO: ready"):
        os.write(STDERR, b"ERROR: no model\n")
        raise ValueError("failed")
    os.write(STDERR, b"after\n")
    assert capfd.readouterr().err == "ERROR: no model\nafter\n"
