"""Pair generation: from planned (face, style) pairs to finished pictures, in the order of the plan."""

import itertools
import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from dda.errors import OptionError, SourceError
from dda.faces.parsing.parser import NO_MEMORY
from dda.faces.preparation import PreparedFace
from dda.images import to_uint8
from dda.models.painting import FaceBatch, PaintedFaces, Strength
from dda.models.residual_pipeline import ResidualPipeline
from dda.pairs.journal import PairRow
from dda.pairs.plan import PlannedPair
from dda.pairs.writer import pair_name
from dda.styles import Style
from dda.system.stage_times import StageTimes
from dda.system.thread_pool import prefetch_results, thread_pool

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

_NOT_FINITE = SourceError("failed", "model", "the model gave values that are not finite: try the precision fp32")


@dataclass(frozen=True)
class PairOutcome:
    """The result of trying one planned pair.

    Attributes:
        row: its row in the journal.
        face: the face it was made of; None where the source could not be used.
        target: uint8 (512, 512, 3); None where there is no pair.
    """

    row: PairRow
    face: PreparedFace | None = None
    target: np.ndarray | None = None

    @property
    def place(self) -> int:
        """The pair's number in the plan."""
        return self.row.place

    @property
    def source(self) -> np.ndarray | None:
        """uint8 (512, 512, 3); None where there is no pair."""
        return self.face.source if self.face is not None else None

    @property
    def source_png(self) -> bytes | None:
        """The source as a PNG file; None where there is no pair."""
        return self.face.source_png if self.face is not None else None


@dataclass(frozen=True)
class _Job:
    """One face to paint in one style."""

    pair: PlannedPair
    face: PreparedFace

    @property
    def place(self) -> int:
        return self.pair.place


class PairGenerator:
    """An iterable of outcomes in plan order, ``len`` of which are pairs if enough sources can be used.

    Pictures are decoded and parsed by ``workers`` threads ahead of the model. A pass of the model always has
    ``batch_size`` rows, so a pair's bytes depend on its own key and not on the pairs beside it.

    Args:
        pairs: planned pairs still to try, in order; styles of one face that follow each other share its preparation.
        num_pairs: stop after the place that brings so many pairs; None: try them all.
        prepare: path to the faces of a picture, each prepared or refused; raises SourceError for the whole picture.
            Called from several threads.
        pipeline: the model.
        styles: by name.
        strength: the run's strengths.
        batch_size: faces, and pairs, in one pass of the model.
        seed: root seed of the noise.
        workers: threads that prepare.
        times: takes the seconds of the model's passes, as stage "model".
    """

    def __init__(
        self,
        pairs: Sequence[PlannedPair],
        num_pairs: int | None,
        prepare: Callable[[str], list[PreparedFace | SourceError]],
        pipeline: ResidualPipeline[Any],
        styles: Mapping[str, Style],
        strength: Strength,
        batch_size: int,
        seed: int,
        workers: int,
        times: StageTimes | None = None,
    ) -> None:
        self.pairs = pairs
        self.num_pairs = num_pairs
        self.prepare = prepare
        self.pipeline = pipeline
        self.styles = styles
        self.strength = strength
        self.batch_size = batch_size
        self.seed = seed
        self.workers = workers
        self.times = times or StageTimes()

    def __len__(self) -> int:
        return len(self.pairs) if self.num_pairs is None else self.num_pairs

    def __iter__(self) -> Iterator[PairOutcome]:
        waiting: list[_Job | PairOutcome] = []
        with thread_pool(self.workers, "prepare") as pool, closing(self._prepared(pool)) as prepared:
            for item in self._until_num_pairs(prepared):
                if isinstance(item, _Job) and _count_faces([*waiting, item]) > self.batch_size:
                    yield from self._finish(waiting)
                    waiting = []
                if isinstance(item, PairOutcome) and not waiting:
                    yield item
                else:
                    waiting.append(item)
            yield from self._finish(waiting)

    def _until_num_pairs(self, items: Iterator[_Job | PairOutcome]) -> Iterator[_Job | PairOutcome]:
        """Yield whole places until they hold ``num_pairs`` jobs."""
        jobs = 0
        for _, place in itertools.groupby(items, key=lambda item: item.place):
            if self.num_pairs is not None and jobs >= self.num_pairs:
                return
            for item in place:
                jobs += isinstance(item, _Job)
                yield item

    def _prepared(self, pool: ThreadPoolExecutor) -> Generator[_Job | PairOutcome]:
        """Yield jobs and refusals in plan order, prepared ahead of the model."""
        groups = (list(group) for _, group in itertools.groupby(self.pairs, key=lambda pair: pair.path))
        window = self.workers + 2 * self.batch_size  # a batch is ready while the one before is painted
        with closing(prefetch_results(pool, lambda group: self.prepare(group[0].path), groups, window)) as prepared:
            for group, future in prepared:
                try:
                    faces = future.result()
                except SourceError as error:
                    faces = [error]
                except torch.OutOfMemoryError:
                    faces = [SourceError("failed", "parse", NO_MEMORY)]
                for pair in group:
                    for index, face in enumerate(faces):
                        if isinstance(face, SourceError):
                            yield PairOutcome(_make_refused_row(pair, index, face))
                        else:
                            yield _Job(pair, face)

    def _finish(self, items: Sequence[_Job | PairOutcome]) -> Iterator[PairOutcome]:
        """Yield the outcomes of a batch of faces, refusals in their places."""
        painted = self._paint_all([item for item in items if isinstance(item, _Job)])
        for item in items:
            yield item if isinstance(item, PairOutcome) else next(painted)

    def _paint_all(self, jobs: Sequence[_Job]) -> Iterator[PairOutcome]:
        """Yield the outcomes of jobs in order. If the device runs out of memory, the batch is halved for good."""
        done = 0
        while done < len(jobs):
            try:
                for outcome in self._paint(_first_faces(jobs[done:], self.batch_size)):
                    yield outcome
                    done += 1
            except torch.OutOfMemoryError as error:
                if self.batch_size == 1:
                    raise OptionError("device", "out of memory for a single pair", self.pipeline.device) from error
                self.batch_size //= 2
                _LOG.warning("Out of memory: the run goes on in batches of %d.", self.batch_size)
            else:
                continue
            torch.cuda.empty_cache()  # not before: the error held the batch that did not fit

    def _paint(self, jobs: Sequence[_Job]) -> Iterator[PairOutcome]:
        """Yield the outcomes of jobs on at most ``batch_size`` faces."""
        faces = {id(job.face): job.face for job in jobs}
        indices = {key: index for index, key in enumerate(faces)}
        with self.times.measure("model"):
            padded_faces = _pad(list(faces.values()), self.batch_size)
            batch = FaceBatch.from_prepared(self.pipeline, padded_faces, self.seed)
        for begin in range(0, len(jobs), self.batch_size):
            chunk = jobs[begin : begin + self.batch_size]
            padded = _pad(chunk, self.batch_size)
            with self.times.measure("model"):  # the targets come back to the CPU, which waits for the device
                painted = batch.paint(
                    [indices[id(job.face)] for job in padded],
                    [self.styles[job.pair.style] for job in padded],
                    self.strength,
                )
            for row, job in enumerate(chunk):
                yield self._outcome(job, painted, row)

    def _outcome(self, job: _Job, painted: PaintedFaces, row: int) -> PairOutcome:
        if not painted.is_finite[row]:
            return PairOutcome(_make_refused_row(job.pair, job.face.index, _NOT_FINITE))
        target = to_uint8(painted.target[row])
        measures = {
            **_measure_change(job.face, target),
            "raw_leakage": float(painted.raw_leakage[row]),
            "batch_size": float(self.batch_size),
        }
        pair, face = job.pair, job.face
        name = pair_name(pair.place, face.index)
        finished = PairRow(
            pair.place, face.index, pair.path, pair.style, 0, "ok", "", "", name, face.content_hash, measures
        )
        return PairOutcome(finished, face, target)


def _count_faces(items: Sequence[_Job | PairOutcome]) -> int:
    return len({id(item.face) for item in items if isinstance(item, _Job)})


def _first_faces(jobs: Sequence[_Job], count: int) -> Sequence[_Job]:
    """Return the leading jobs on at most ``count`` faces."""
    fitting = (end for end in range(len(jobs), 0, -1) if _count_faces(jobs[:end]) <= count)
    return jobs[: next(fitting)]


def _pad(items: Sequence[T], size: int) -> list[T]:
    """Repeat the last item up to ``size``: a pass of the model always has the same number of rows."""
    return [*items, *[items[-1]] * (size - len(items))]


def _make_refused_row(pair: PlannedPair, face: int, error: SourceError) -> PairRow:
    """Return the row of a pair whose source gives none."""
    return PairRow(pair.place, face, pair.path, pair.style, 0, error.status, error.stage, error.reason, "", "")


def _measure_change(face: PreparedFace, target: np.ndarray) -> dict[str, float]:
    """Measure what changed from source to target: pixels outside the masks, mean change, share of the masks."""
    change = np.maximum(target, face.source) - np.minimum(target, face.source)
    total = face.regions.total_mask
    red, green, blue = np.moveaxis(change, -1, 0)  # any() over the short last axis takes ten times as long
    is_changed_background = (total == 0) & ((red | green | blue) > 0)
    return {
        "background_pixels": float(np.count_nonzero(is_changed_background)),
        "makeup_change": float(change.mean() / 255),
        "mask_share": float(total.mean()),
    }
