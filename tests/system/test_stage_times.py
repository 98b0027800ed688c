import doctest
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from dda.system import stage_times
from dda.system.stage_times import StageTimes


def test_seconds_of_several_threads_are_summed() -> None:
    times, barrier = StageTimes(), Barrier(4, timeout=30)

    def work() -> None:
        with times.measure("wait"):
            barrier.wait()
        times.add_seconds({"write": 0.5})

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(work) for _ in range(4)]:
            future.result()
    seconds = times.pop_seconds()
    assert seconds["write"] == 2.0 and seconds["wait"] > 0


def test_seconds_are_reset_after_they_were_returned() -> None:
    times = StageTimes()
    times.add_seconds({"model": 1.0, "write": 2.0})
    times.add_seconds({"model": 3.0})
    assert times.pop_seconds() == {"model": 4.0, "write": 2.0}
    assert times.pop_seconds() == {}


def test_a_failing_block_is_measured() -> None:
    times = StageTimes()
    with pytest.raises(ValueError, match="no"), times.measure("prepare"):
        raise ValueError("no")
    assert list(times.pop_seconds()) == ["prepare"]


def test_the_docstring_example_is_correct() -> None:
    assert doctest.testmod(stage_times).failed == 0
