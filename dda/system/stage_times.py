"""Time spent in the stages of a job."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock


class StageTimes:
    """Seconds spent in each stage of a job, summed over all threads; any thread may add to them.

    ``measure`` is for a ``with`` block or, as a decorator, for each call of a function:

        >>> times = StageTimes()
        >>> double = times.measure("double")(lambda value: 2 * value)
        >>> double(4), list(times.pop_seconds())
        (8, ['double'])
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._seconds: Counter[str] = Counter()

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add the duration of the block to a stage, also if it ends with an exception."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add_seconds({stage: time.perf_counter() - start})

    def add_seconds(self, seconds: Mapping[str, float]) -> None:
        """Add seconds by stage that were measured elsewhere."""
        with self._lock:
            self._seconds.update(seconds)

    def pop_seconds(self) -> dict[str, float]:
        """Return the seconds by stage, and start again from zero."""
        with self._lock:
            seconds, self._seconds = self._seconds, Counter()
        return dict(seconds)
