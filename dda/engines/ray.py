"""The engine of many machines: Ray Data deals faces to actors that hold the model."""

import itertools
import logging
import math
import os
import pickle
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import ray
import ray.data
import torch
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import RayActorError

from dda.engines.options import RayEngineOptions
from dda.engines.worker import PairJob, Worker
from dda.errors import UserError, first_line
from dda.options import walk_options
from dda.pairs.journal import PairRow
from dda.pairs.plan import PlannedPair
from dda.pairs.writer import remove_unfinished
from dda.system.device import pick_device
from dda.system.memory import raise_malloc_thresholds
from dda.system.stage_times import StageTimes

MOST_BATCHES = 8
"""Batches in one block: within it an actor decodes and writes beside its model, and its death costs one block."""

FALSE_STARTS = 4
"""Actors in a row that may die while they load, as when their machines are taken away; one more is no accident."""

CONNECT = 10.0
"""Seconds that a cluster has to answer."""

STALLED = 7200.0
"""Seconds without a finished block until the pool is given up: a block that kills its actors comes back for ever."""

Block = list[PlannedPair]
Options = TypeVar("Options")


class RayEngine:
    """Deals blocks of faces to a pool of actors and collects their rows.

    A face goes out once with all its styles of a call. A block that is made twice, since the actor that had it died,
    writes the same bytes under the same names, and its rows arrive once.

    Args:
        options: of the engine.
        job: what to make; every machine must see its paths.
        run_dir: the run's folder, on a file system that all machines share.

    Raises:
        UserError: there is no cluster at ``engine.address``, or this machine has not what a worker asks for.
    """

    def __init__(self, options: RayEngineOptions, job: PairJob, run_dir: Path) -> None:
        self._options = options
        self._job = _prepare_job(job)
        self._run_dir = run_dir.absolute()
        self.times = StageTimes()
        _connect(options.address)
        if options.address == "local":  # another cluster may grow
            _check_room(options, self._job, ray.cluster_resources())

    def make(self, pairs: Sequence[PlannedPair], wanted: int | None) -> Iterator[list[PairRow]]:
        """Yield rows of the first ``wanted`` places (None: of all), block by block as they are finished.

        A place brings one pair at most (``check`` refuses the settings that bring more), so this never makes a pair
        that is not wanted; places that bring none leave the call short, and the next call takes their replacements.
        """
        blocks = deal(pairs[:wanted], self._job.batch_size, self._options.workers or self._count_free_workers())
        try:
            for result in self._collect_rows(blocks).iter_batches(batch_size=1, prefetch_batches=0):
                if mistake := result["mistake"][0]:
                    raise UserError(mistake)
                rows, seconds = pickle.loads(result["made"][0])
                self.times.add_seconds(seconds)
                yield rows
        except (RayActorError, ExecutionTimeoutError) as error:
            raise UserError(
                f"engine=ray: the pool failed again and again ({first_line(error)}); look for the memory of its "
                "machines; the same run_name goes on from here"
            ) from error
        finally:
            remove_unfinished(self._run_dir, str(self._job.shard))  # of actors that died

    def _collect_rows(self, blocks: Sequence[Block]) -> ray.data.Dataset:
        """Return the rows of blocks as they come in; Ray Data restarts actors and repeats their blocks."""
        most = min(self._options.workers or len(blocks), len(blocks))
        pool = ray.data.ActorPoolStrategy(
            min_size=1,
            initial_size=min(most, self._count_free_workers()),
            max_size=most,
            max_tasks_in_flight_per_actor=2,
        )
        # Pickled, since Arrow refuses file names that are not UTF-8.
        items = [{"block": pickle.dumps(block)} for block in blocks]
        return ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            _Actor,
            batch_size=1,
            fn_constructor_args=(self._options, self._job, self._run_dir),
            compute=pool,
            num_cpus=self._options.threads,
            num_gpus=int(self._job.device == "cuda"),
        )

    def _count_free_workers(self) -> int:
        """Return how many workers the cluster has room for now."""
        resources = ray.cluster_resources()
        if self._job.device == "cuda":
            return max(1, int(resources.get("GPU", 0)))
        return max(1, int(resources.get("CPU", 0)) // self._options.threads)


class _Actor:
    """A worker in a process of its own. A mistake of the user's is a result: as an exception Ray would wrap it."""

    def __init__(self, options: RayEngineOptions, job: PairJob, run_dir: Path) -> None:
        raise_malloc_thresholds()
        torch.set_num_threads(options.threads)
        node = ray.get_runtime_context().get_node_id()[:8]
        self._mistake = ""
        try:
            self._worker = Worker(job, run_dir, tag=f"{job.shard}-{node}-{os.getpid()}")
        except UserError as error:
            self._mistake = str(error)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        rows: list[PairRow] = []
        seconds: dict[str, float] = {}
        if not self._mistake:
            try:
                rows = list(itertools.chain.from_iterable(self._worker.make(pickle.loads(batch["block"][0]), None)))
                seconds = self._worker.times.pop_seconds()
            except UserError as error:
                self._mistake = str(error)
        return {"made": [pickle.dumps((rows, seconds))], "mistake": [self._mistake]}


def _connect(address: str) -> None:
    if ray.is_initialized():  # by an earlier job of a sweep
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    host, _, port = address.rpartition(":")
    try:
        if host:  # where nobody listens Ray would wait for ever
            socket.create_connection((host, int(port)), CONNECT).close()
        ray.init(address, include_dashboard=False, logging_level=logging.ERROR)
    except OSError as error:  # refused, silent, unknown, unreachable
        raise UserError(
            f"engine.address={address}: no Ray cluster answers there ({first_line(error)}); "
            "start one with `ray start --head`, or write engine.address=local"
        ) from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_consecutive_actor_init_deaths = FALSE_STARTS
    context.execution_no_progress_timeout_s = STALLED


def _check_room(options: RayEngineOptions, job: PairJob, resources: Mapping[str, float]) -> None:
    """Refuse what Ray would wait for in vain."""
    cores = int(resources.get("CPU", 0))
    if options.threads > cores:
        raise UserError(f"engine.threads={options.threads}: this machine has {cores} cores; ask for no more")
    if job.device == "cuda" and not resources.get("GPU"):
        raise UserError("device=cuda: Ray sees no GPU on this machine; use device=cpu, or a cluster at engine.address")


def _prepare_job(job: PairJob) -> PairJob:
    """Return the job as an actor needs it: absolute paths, and the device decided."""
    return replace(
        job,
        dataset=_with_absolute_paths(job.dataset),
        parser=_with_absolute_paths(job.parser),
        model=_with_absolute_paths(job.model),
        device=pick_device(job.device).type,
    )


def _with_absolute_paths(options: Options) -> Options:
    """Return the same options with the paths that exist here made absolute."""
    changed: dict[str, Any] = {}
    for name, declared in walk_options(options):
        value = getattr(options, name)
        if isinstance(value, dict):
            changed[name] = {key: str(Path(path).absolute()) for key, path in value.items()}
        elif declared.metadata.get("is_path") and value and Path(value).exists():
            changed[name] = str(Path(value).absolute())
    return replace(options, **changed)  # type: ignore[type-var]


def deal(pairs: Sequence[PlannedPair], batch_size: int, workers: int) -> list[Block]:
    """Return the pairs face by face, each face with all its styles, in blocks of whole batches of faces.

    Blocks are small enough to go round among the workers several times, and hold `MOST_BATCHES` batches at most.
    """
    faces: dict[str, Block] = {}
    for pair in pairs:
        faces.setdefault(pair.path, []).append(pair)
    batches = math.ceil(len(faces) / batch_size)
    size = batch_size * max(1, min(MOST_BATCHES, batches // (8 * workers)))
    groups = list(faces.values())
    starts = range(0, len(groups), size)
    return [list(itertools.chain.from_iterable(groups[start : start + size])) for start in starts]
