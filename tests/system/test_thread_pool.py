import threading

import numpy  # noqa: F401  # loads BLAS, which threadpool_info looks for
from threadpoolctl import threadpool_info, threadpool_limits

from dda.system.thread_pool import prefetch_results, thread_pool


def count_blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_blas_has_one_thread_inside_a_pool() -> None:
    with threadpool_limits(2, user_api="blas"):
        before = count_blas_threads()
        with thread_pool(2, "test") as pool:
            assert pool.submit(count_blas_threads).result() == {1}
        assert before == count_blas_threads() == {2}


def test_a_pool_has_the_given_number_of_threads() -> None:
    with thread_pool(3, "test") as pool:
        barrier = threading.Barrier(3)
        assert sorted(pool.map(lambda _: barrier.wait(timeout=30), range(3))) == [0, 1, 2]


def test_results_come_in_order_and_at_most_a_window_of_calls_is_started() -> None:
    started: list[int] = []

    def square(number: int) -> int:
        started.append(number)
        return number**2

    with thread_pool(2, "test") as pool:
        for index, (number, future) in enumerate(prefetch_results(pool, square, range(20), window=4)):
            assert (number, future.result()) == (index, index**2)
            assert len(started) <= index + 4


def test_closing_the_results_cancels_the_calls_that_have_not_started() -> None:
    started: list[int] = []
    event = threading.Event()

    def wait(number: int) -> None:
        started.append(number)
        event.wait(timeout=30)

    with thread_pool(1, "test") as pool:
        results = prefetch_results(pool, wait, range(20), window=4)
        next(results)
        results.close()
        event.set()
    assert started in ([], [0])
