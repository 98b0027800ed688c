"""Where the time of a job goes."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Lock


class StageTimes:
    """Seconds spent in each stage of a job, those of all threads together; any thread may add to them.

    ``measure`` is for a ``with`` block or, as a decorator, for each call of a function:

        >>> times = StageTimes()
        >>> double = times.measure("double")(lambda value: 2 * value)
        >>> double(4), list(times.take())
        (8, ['double'])
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._seconds: Counter[str] = Counter()

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Add what the block takes to a stage, also where it ends with an exception."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add({stage: time.perf_counter() - began})

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add what was measured elsewhere."""
        with self._lock:
            self._seconds.update(seconds)

    def take(self) -> dict[str, float]:
        """The seconds by stage since the last call."""
        with self._lock:
            seconds, self._seconds = self._seconds, Counter()
        return dict(seconds)
