import threading

import numpy  # noqa: F401  # loads the BLAS that is asked about
from threadpoolctl import threadpool_info, threadpool_limits

from dda.system.thread_pool import map_ahead, thread_pool


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_blas_starts_no_threads_beside_those_of_a_pool() -> None:
    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with thread_pool(2, "test") as pool:
            assert pool.submit(blas_threads).result() == {1}
        assert before == blas_threads() == {2}


def test_as_many_threads_as_asked_for() -> None:
    with thread_pool(3, "test") as pool:
        meeting = threading.Barrier(3)
        assert sorted(pool.map(lambda _: meeting.wait(timeout=30), range(3))) == [0, 1, 2]


def test_results_come_in_order_and_no_more_is_begun_than_the_window_holds() -> None:
    begun: list[int] = []

    def square(number: int) -> int:
        begun.append(number)
        return number**2

    with thread_pool(2, "test") as pool:
        for index, (number, future) in enumerate(map_ahead(pool, square, range(20), window=4)):
            assert (number, future.result()) == (index, index**2)
            assert len(begun) <= index + 4


def test_what_has_not_begun_when_the_results_are_let_go_never_does() -> None:
    begun: list[int] = []
    held = threading.Event()

    def wait(number: int) -> None:
        begun.append(number)
        held.wait(timeout=30)

    with thread_pool(1, "test") as pool:
        ahead = map_ahead(pool, wait, range(20), window=4)
        next(ahead)
        ahead.close()
        held.set()
    assert begun in ([], [0])
