import threading

import numpy  # noqa: F401  # loads the BLAS that is asked about
from threadpoolctl import threadpool_info, threadpool_limits

from dda.pool import thread_pool


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
