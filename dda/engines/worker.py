"""The worker: everything a process needs to turn planned pairs into pictures on the disk."""

import functools
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dda.errors import UserError, describe_error, keys_of
from dda.faces.dataset import DatasetOptions
from dda.faces.parsing.options import ParserOptions
from dda.faces.parsing.parser import FaceParser
from dda.faces.preparation import prepare_faces
from dda.models.options import ModelOptions
from dda.models.painting import Strength
from dda.models.residual_pipeline import ResidualPipeline
from dda.pairs.generator import PairGenerator, PairOutcome
from dda.pairs.journal import PairRow
from dda.pairs.plan import PlannedPair
from dda.pairs.writer import PairWriter
from dda.styles import Style
from dda.system.device import pick_device
from dda.system.stage_times import StageTimes


@dataclass(frozen=True)
class PairJob:
    """What to make pairs of, and how; small enough to be sent to other processes.

    Attributes:
        dataset, parser, model: opened by every worker.
        styles: by name.
        strength: the run's strengths.
        faces: of several in a picture: largest | all | reject.
        batch_size: pairs in one pass of the model.
        seed: root seed of the noise.
        device: auto | cpu | cuda | cuda:N | mps.
        workers: threads that decode and parse, and as many that encode and write.
        shard: index of the shard that the pairs belong to.
    """

    dataset: DatasetOptions
    parser: ParserOptions
    model: ModelOptions
    styles: Sequence[Style]
    strength: Strength
    faces: str
    batch_size: int
    seed: int
    device: str
    workers: int
    shard: int


class Worker:
    """Makes pairs of one run.

    Args:
        job: what to make.
        run_dir: the run's folder, where the pictures go.
        tag: marks the half-written files of this worker (`PairWriter`).

    Attributes:
        times: seconds in the stages "prepare", "model" and "write".

    Raises:
        UserError: weights, parser or pictures are missing or do not fit.
    """

    def __init__(self, job: PairJob, run_dir: Path, tag: str) -> None:
        parser, pipeline = _open_parser_and_model(job, pick_device(job.device))
        with keys_of("model"):
            pipeline.check_styles(job.styles)
        with keys_of("dataset"):
            dataset = job.dataset.open()
        self._batch_size, self._threads = job.batch_size, job.workers
        self._run_dir, self._tag = run_dir, tag
        self.times = StageTimes()
        prepare_source = functools.partial(prepare_faces, dataset, parser=parser, faces=job.faces)
        self._generate = functools.partial(
            PairGenerator,
            prepare=self.times.measure("prepare")(prepare_source),
            pipeline=pipeline,
            styles={style.name: style for style in job.styles},
            strength=job.strength,
            seed=job.seed,
            workers=job.workers,
            times=self.times,
        )

    def make(self, pairs: Sequence[PlannedPair], num_pairs: int | None) -> Iterator[list[PairRow]]:
        """Yield the rows of pairs tried, in plan order, when their pictures are on the disk.

        The run's journal must be open: its lock keeps other workers of the same tag away.

        Args:
            pairs: to try, in order.
            num_pairs: stop after the place that brings so many pairs; None: try them all.
        """
        generator = self._generate(pairs, num_pairs, batch_size=self._batch_size)
        yield from self._write_all(generator)
        self._batch_size = generator.batch_size  # it is smaller now if the device ran out of memory

    @functools.cached_property
    def _writer(self) -> PairWriter:
        return PairWriter(self._run_dir, self._tag)

    def _write_all(self, outcomes: Iterable[PairOutcome]) -> Iterator[list[PairRow]]:
        """Write beside the model; yield rows place by place."""
        write = self.times.measure("write")(_write)
        with ThreadPoolExecutor(self._threads, thread_name_prefix="write") as pool:
            waiting: deque[list[Future[PairRow]]] = deque()
            ready: list[PairRow] = []
            for _, place in itertools.groupby(outcomes, key=lambda outcome: outcome.place):
                # The masks of the face are not kept until the pictures are written.
                waiting.append(
                    [pool.submit(write, self._writer, o.row, o.source, o.target, o.source_png) for o in place]
                )
                while len(waiting) > 2 * self._batch_size:
                    ready += [future.result() for future in waiting.popleft()]
                if len(ready) >= self._batch_size:
                    yield ready
                    ready = []
            ready += [future.result() for futures in waiting for future in futures]
            if ready:
                yield ready


def _write(
    writer: PairWriter, row: PairRow, source: np.ndarray | None, target: np.ndarray | None, source_png: bytes | None
) -> PairRow:
    if source is None or target is None:
        return row
    try:
        writer.write(row.name, source, target, source_png)
    except OSError as error:
        if line := describe_error(error):  # a full disk would fail every pair to the end of the plan
            raise UserError(line) from error
        reason = str(error.strerror or error)
        return replace(row, status="failed", stage="write", reason=reason, name="", measures={})
    return row


def _open_parser_and_model(job: PairJob, device: torch.device) -> tuple[FaceParser[Any], ResidualPipeline[Any]]:
    """Open both; what both of them lack is said at once, so that one download brings it all."""
    try:
        with keys_of("parser"):
            parser = job.parser.open(device)
    except UserError as parser_error:
        try:
            _open_model(job, device)
        except UserError as model_error:
            raise UserError(f"{parser_error}; and {model_error}") from model_error
        raise
    return parser, _open_model(job, device)


def _open_model(job: PairJob, device: torch.device) -> ResidualPipeline[Any]:
    with keys_of("model"):
        return job.model.open(device)
