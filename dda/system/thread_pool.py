"""Thread pools that work beside the model and ahead of it."""

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
    """Open a pool of ``workers`` threads for a ``with`` block, in which BLAS starts no threads of its own.

    Masks take many small matrix products. BLAS would split each over all cores, and its threads spin while they wait
    for the next one, on cores that the model needs.
    """
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers, thread_name_prefix=name) as pool:
        yield pool


def prefetch_results(
    pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T], window: int
) -> Generator[tuple[T, Future[R]]]:
    """Call ``function`` for each item in the pool; yield each item and its future, in order.

    At most ``window`` items are submitted and not yet yielded. Closing the generator cancels the calls that have not
    started.
    """
    remaining = iter(items)
    submitted: deque[tuple[T, Future[R]]] = deque()
    try:
        while True:
            room = window - len(submitted)
            submitted.extend((item, pool.submit(function, item)) for item in itertools.islice(remaining, room))
            if not submitted:
                return
            yield submitted.popleft()
    finally:
        for _, future in submitted:
            future.cancel()
