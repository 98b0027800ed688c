"""The worker: all that a process needs to turn planned pairs into pictures on the disk."""

import functools
import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dda.errors import UserError, describe_error
from dda.faces.dataset import open_dataset
from dda.faces.parsing.parser import FaceParser, open_parser
from dda.faces.preparation import prepare
from dda.models.residual_pipeline import ResidualPipeline, known_styles, open_pipeline
from dda.pairs.generator import Outcome, PairGenerator, Strength
from dda.pairs.journal import PairRow
from dda.pairs.plan import PlannedPair
from dda.pairs.writer import PairWriter
from dda.regions import REGIONS
from dda.styles import resolve_styles
from dda.system.device import pick_device
from dda.system.stage_times import StageTimes


class Worker:
    """Makes pairs of one run.

    Args:
        cfg: the run's configuration.
        run_dir: the run's folder, which the pictures go to.
        tag: marks the half-written files of this worker (`PairWriter`).

    Attributes:
        times: seconds in the stages "prepare", "model" and "write".

    Raises:
        UserError: weights, parser or pictures that are missing or do not fit.
    """

    def __init__(self, cfg: Any, run_dir: Path, tag: str) -> None:
        device = pick_device(cfg.device)
        parser, amplifier = _open_both(cfg, device)
        self._batch_size, self._threads = cfg.batch_size, cfg.batch.workers
        self._run_dir, self._tag = run_dir, tag
        self.times = StageTimes()
        prepare_source = functools.partial(prepare, open_dataset(cfg.dataset), parser=parser, faces=cfg.faces)
        self._amplification = functools.partial(
            PairGenerator,
            prepare=self.times.measure("prepare")(prepare_source),
            amplifier=amplifier,
            styles={style.name: style for style in resolve_styles(cfg.style_set, known_styles(cfg.model))},
            strength=Strength(cfg.strength.makeup, cfg.strength.detail, {r: cfg.strength[r] for r in REGIONS}),
            seed=cfg.seed,
            workers=cfg.batch.workers,
            times=self.times,
        )

    def make(self, pairs: Sequence[PlannedPair], wanted: int | None) -> Iterator[list[PairRow]]:
        """Rows of pairs tried, in plan order, their pictures on the disk. The run's journal must be open (its lock).

        Args:
            pairs: to try, in order.
            wanted: stop after the place that brings so many pairs; None: try them all.
        """
        amplification = self._amplification(pairs, wanted, batch_size=self._batch_size)
        yield from self._written(amplification)
        self._batch_size = amplification.batch_size  # what the device's memory could hold

    @functools.cached_property
    def _writer(self) -> PairWriter:
        return PairWriter(self._run_dir, self._tag)

    def _written(self, outcomes: Iterable[Outcome]) -> Iterator[list[PairRow]]:
        """Writing runs beside the model; rows come place by place."""
        write = self.times.measure("write")(_write)
        with ThreadPoolExecutor(self._threads, thread_name_prefix="write") as pool:
            waiting: deque[tuple[list[Outcome], list[Future[PairRow]]]] = deque()
            ready: list[PairRow] = []
            for _, group in itertools.groupby(outcomes, key=lambda outcome: outcome.place):
                place = list(group)
                waiting.append((place, [pool.submit(write, self._writer, outcome) for outcome in place]))
                while len(waiting) > 2 * self._batch_size:
                    ready += [future.result() for future in waiting.popleft()[1]]
                if len(ready) >= self._batch_size:
                    yield ready
                    ready = []
            ready += [future.result() for _, futures in waiting for future in futures]
            if ready:
                yield ready


def _write(writer: PairWriter, outcome: Outcome) -> PairRow:
    row = outcome.row
    if outcome.source is None or outcome.target is None:
        return row
    try:
        writer.write(row.name, outcome.source, outcome.target, outcome.source_png)
    except OSError as error:
        if line := describe_error(error):  # a full disk would fail every pair to the end of the plan
            raise UserError(line) from error
        reason = str(error.strerror or error)
        return replace(row, status="failed", stage="write", reason=reason, name="", measures={})
    return row


def _open_both(cfg: Any, device: torch.device) -> tuple[FaceParser, ResidualPipeline]:
    """The parser and the model; what both of them lack is said at once, so that one trip fetches it all."""
    try:
        parser = open_parser(cfg.parser, device)
    except UserError as lacking:
        try:
            open_pipeline(cfg.model, device)
        except UserError as also:
            raise UserError(f"{lacking}; and {also}") from also
        raise
    return parser, open_pipeline(cfg.model, device)
