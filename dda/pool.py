"""A pool of threads that work beside the model."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from threadpoolctl import threadpool_limits


@contextmanager
def thread_pool(workers: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """So many threads for a ``with`` block, in which BLAS starts none of its own.

    Masks take many small matrix products. BLAS would split each between all cores, and its threads wait for the next
    one in a loop, on cores that the model needs.
    """
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers, thread_name_prefix=name) as pool:
        yield pool
