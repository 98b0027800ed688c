"""Engines: who makes the pairs of a run, this process or a pool of others."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from dda.errors import UserError
from dda.pairs.journal import PairRow
from dda.pairs.plan import PlannedPair
from dda.system.stage_times import StageTimes


class Engine(Protocol):
    """Makes pairs of one run. The journal stays with the process that asks.

    Attributes:
        times: seconds in the stages "prepare", "model" and "write", of all threads and machines together.
    """

    times: StageTimes

    def make(self, pairs: Sequence[PlannedPair], wanted: int | None) -> Iterator[list[PairRow]]:
        """Rows of pairs tried, their pictures on the disk, the rows of a place together.

        Args:
            pairs: to try, in order.
            wanted: stop when the first pairs have brought so many, or leave the rest to another call; never make
                one that a call which tries them in order would not have made. None: try them all.
        """


def open_engine(cfg: Any, run_dir: Path) -> Engine:
    """The engine of ``cfg.engine``, which writes into ``run_dir``.

    Raises:
        UserError: a package, weights or a parser that are missing or do not fit.
    """
    if cfg.engine.name == "local":
        from dda.engines.worker import Worker  # takes seconds: a plan, or a mistake, need not wait for it

        return Worker(cfg, run_dir, tag=str(cfg.shard.index))
    try:
        from dda.engines.ray import RayEngine  # its package is an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "ray":
            raise
        raise UserError(f'engine=ray: {error.name} is not installed; pip install -e ".[ray]"') from error
    return RayEngine(cfg, run_dir)
