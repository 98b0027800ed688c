"""Options of the engines, and of how a run is launched."""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dda.errors import UserError
from dda.options import Choice, Limit, at_least, one_of, option

if TYPE_CHECKING:  # torch takes seconds to import, and Ray is an extra
    from dda.engines.engine import Engine
    from dda.engines.worker import PairJob

ADDRESS = Limit("local, auto or HOST:PORT", lambda value: re.fullmatch(r"local|auto|[^/\s]+:\d+", value) is not None)


@dataclass(kw_only=True)
class EngineOptions(Choice, ABC):
    """What makes the pairs of a run. No engine changes a pixel."""

    name: str = option("The engine.", changes_output=False)

    @abstractmethod
    def open(self, job: "PairJob", run_dir: Path) -> "Engine":
        """Open the engine of a job, which writes into ``run_dir``.

        Raises:
            UserError: a package, weights or a parser are missing or do not fit.
        """


@dataclass(kw_only=True)
class LocalEngineOptions(EngineOptions):
    """This process makes the pairs."""

    name: str = option("The engine.", "local", limit=one_of("local"), changes_output=False)

    def open(self, job: "PairJob", run_dir: Path) -> "Engine":
        """As :meth:`EngineOptions.open`."""
        from dda.engines.worker import Worker

        return Worker(job, run_dir, tag=str(job.shard))


@dataclass(kw_only=True)
class RayEngineOptions(EngineOptions):
    """A pool of processes, on this machine or many, that Ray Data gives blocks of faces."""

    name: str = option("The engine.", "ray", limit=one_of("ray"), changes_output=False)
    workers: int | None = option(
        "Processes that hold the model; null: as many as the cluster has room for.",
        limit=at_least(1),
        changes_output=False,
    )
    threads: int = option(
        "Threads of a worker's model on the CPU, and the cores that Ray keeps for it.",
        limit=at_least(1),
        changes_output=False,
    )
    address: str = option(
        "local: a pool on this machine | auto: the cluster this machine belongs to | HOST:PORT.",
        limit=ADDRESS,
        changes_output=False,
    )

    def open(self, job: "PairJob", run_dir: Path) -> "Engine":
        """As :meth:`EngineOptions.open`."""
        try:
            from dda.engines.ray import RayEngine
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "ray":
                raise
            raise UserError(f'engine=ray: {error.name} is not installed; pip install -e ".[ray]"') from error
        return RayEngine(self, job, run_dir)


@dataclass(kw_only=True)
class LaunchOptions(Choice):
    """How a run is launched: this process alone, or jobs of a cluster."""

    name: str = option("The way to launch.", limit=one_of("none", "local", "slurm"), changes_output=False)


@dataclass(kw_only=True)
class LocalLaunchOptions(LaunchOptions):
    """One machine, many GPUs: a process on each, every one a shard of the run, merged at the end."""

    processes: int | None = option(
        "Number of processes; null: one for each GPU, or one for every four cores without a GPU.",
        limit=at_least(1),
        changes_output=False,
    )
