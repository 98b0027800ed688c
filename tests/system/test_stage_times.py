import doctest
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from dda.system import stage_times as timing
from dda.system.stage_times import StageTimes


def test_seconds_of_several_threads_add_up() -> None:
    times, together = StageTimes(), Barrier(4, timeout=30)

    def work() -> None:
        with times.measure("wait"):
            together.wait()
        times.add({"write": 0.5})

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(work) for _ in range(4)]:
            future.result()
    found = times.take()
    assert found["write"] == 2.0 and found["wait"] > 0


def test_what_was_taken_is_not_counted_again() -> None:
    times = StageTimes()
    times.add({"model": 1.0, "write": 2.0})
    times.add({"model": 3.0})
    assert times.take() == {"model": 4.0, "write": 2.0}
    assert times.take() == {}


def test_a_block_that_fails_took_its_time_too() -> None:
    times = StageTimes()
    with pytest.raises(ValueError, match="no"), times.measure("prepare"):
        raise ValueError("no")
    assert list(times.take()) == ["prepare"]


def test_the_example_holds() -> None:
    assert doctest.testmod(timing).failed == 0
