"""A pool of threads that work beside the model, and ahead of it."""

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def thread_pool(workers: int, name: str) -> Iterator[ThreadPoolExecutor]:
    """So many threads for a ``with`` block, in which BLAS starts none of its own.

    Masks take many small matrix products. BLAS would split each between all cores, and its threads wait for the next
    one in a loop, on cores that the model needs.
    """
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers, thread_name_prefix=name) as pool:
        yield pool


def map_ahead(
    pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T], window: int
) -> Generator[tuple[T, Future[R]]]:
    """Each item and its future, in order; at most ``window`` items are worked on or wait.

    Closing the generator cancels what has not begun.
    """
    left = iter(items)
    ahead: deque[tuple[T, Future[R]]] = deque()
    try:
        while True:
            ahead.extend((item, pool.submit(function, item)) for item in itertools.islice(left, window - len(ahead)))
            if not ahead:
                return
            yield ahead.popleft()
    finally:
        for _, future in ahead:
            future.cancel()
