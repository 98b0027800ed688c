"""Engines: what makes the pairs of a run, this process or a pool of others."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from dda.pairs.journal import PairRow
from dda.pairs.plan import PlannedPair
from dda.system.stage_times import StageTimes


class Engine(Protocol):
    """Makes pairs of one run. The journal stays with the process that asks.

    Attributes:
        times: seconds in the stages "prepare", "model" and "write", of all threads and machines together.
    """

    times: StageTimes

    def make(self, pairs: Sequence[PlannedPair], num_pairs: int | None) -> Iterator[list[PairRow]]:
        """Yield the rows of pairs tried, their pictures on the disk, the rows of a place together.

        Args:
            pairs: to try, in order.
            num_pairs: stop when the first pairs have brought so many, or leave the rest to another call; never make
                one that a call which tries them in order would not have made. None: try them all.
        """
