"""PairGenerator: from planned (face, style) pairs to finished pictures, in the order of the plan."""

import itertools
import logging
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from dda.errors import SourceError, UserError
from dda.faces.parsing.parser import NO_MEMORY
from dda.faces.preparation import PreparedFace
from dda.images import to_tensor, to_uint8
from dda.models.residual_pipeline import ResidualPipeline
from dda.models.residuals import compose
from dda.pairs.journal import PairRow
from dda.pairs.plan import PlannedPair
from dda.pairs.writer import pair_name
from dda.regions import REGIONS
from dda.seeds import pair_noise
from dda.styles import Style
from dda.system.stage_times import StageTimes
from dda.system.thread_pool import map_ahead, thread_pool

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

_OVERFLOWN = SourceError("failed", "model", "the model gave values that are not finite; try model.precision=fp32")


@dataclass(frozen=True)
class Strength:
    """How strongly a run paints: lambda_m, d, and a factor for each region."""

    makeup: float
    detail: float
    regions: Mapping[str, float]

    def gains(self, style: Style) -> torch.Tensor:
        """lambda_m * s_{style,r} of one style, (4,)."""
        return torch.tensor([self.makeup * self.regions[r] * style.strength[r] for r in REGIONS])


@dataclass
class Outcome:
    """What became of one planned pair: its row and, if it is ok, its pictures (uint8 (512, 512, 3))."""

    row: PairRow
    source: np.ndarray | None = None
    target: np.ndarray | None = None
    source_png: bytes | None = None

    @property
    def place(self) -> int:
        return self.row.place


@dataclass
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
    ``batch_size`` rows, so a pair's bytes depend on its own key and not on what is made beside it.

    Args:
        pairs: planned pairs still to try, in order; the styles of a face that lie side by side share its preparation.
        wanted: stop after the place that brings so many pairs; None: try them all.
        prepare: path to the faces of a picture, each prepared or refused; raises SourceError for the whole picture.
            Called from several threads.
        amplifier: the model.
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
        wanted: int | None,
        prepare: Callable[[str], list[PreparedFace | SourceError]],
        amplifier: ResidualPipeline,
        styles: Mapping[str, Style],
        strength: Strength,
        batch_size: int,
        seed: int,
        workers: int,
        times: StageTimes | None = None,
    ) -> None:
        self.pairs = pairs
        self.wanted = wanted
        self.prepare = prepare
        self.amplifier = amplifier
        self.styles = styles
        self.strength = strength
        self.batch_size = batch_size
        self.seed = seed
        self.workers = workers
        self.times = times or StageTimes()

    def __len__(self) -> int:
        return len(self.pairs) if self.wanted is None else self.wanted

    def __iter__(self) -> Iterator[Outcome]:
        waiting: list[_Job | Outcome] = []
        with thread_pool(self.workers, "prepare") as pool, closing(self._prepared(pool)) as prepared:
            for item in self._up_to_wanted(prepared):
                if isinstance(item, _Job) and _count_faces([*waiting, item]) > self.batch_size:
                    yield from self._finished(waiting)
                    waiting = []
                if isinstance(item, Outcome) and not waiting:
                    yield item
                else:
                    waiting.append(item)
            yield from self._finished(waiting)

    def _up_to_wanted(self, items: Iterator[_Job | Outcome]) -> Iterator[_Job | Outcome]:
        jobs = 0
        for _, place in itertools.groupby(items, key=lambda item: item.place):
            if self.wanted is not None and jobs >= self.wanted:
                return
            for item in place:
                jobs += isinstance(item, _Job)
                yield item

    def _prepared(self, pool: ThreadPoolExecutor) -> Generator[_Job | Outcome]:
        """Jobs and refusals in plan order, prepared ahead of their turn."""
        groups = (list(group) for _, group in itertools.groupby(self.pairs, key=lambda pair: pair.path))
        window = self.workers + 2 * self.batch_size  # a batch ready while the one before is painted
        with closing(map_ahead(pool, lambda group: self.prepare(group[0].path), groups, window)) as prepared:
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
                            yield Outcome(_unusable(pair, index, face))
                        else:
                            yield _Job(pair, face)

    def _finished(self, items: Sequence[_Job | Outcome]) -> Iterator[Outcome]:
        """The outcomes of a batch of faces, refusals in their places."""
        painted = self._painted([item for item in items if isinstance(item, _Job)])
        for item in items:
            yield item if isinstance(item, Outcome) else next(painted)

    def _painted(self, jobs: Sequence[_Job]) -> Iterator[Outcome]:
        """The outcomes of jobs, in order. When the device's memory is too small, the batch is halved for good."""
        done = 0
        while done < len(jobs):
            try:
                for outcome in self._paint(_first_faces(jobs[done:], self.batch_size)):
                    yield outcome
                    done += 1
            except torch.OutOfMemoryError as error:
                if self.batch_size == 1:
                    raise UserError(f"device={self.amplifier.device}: out of memory for a single pair") from error
                self.batch_size //= 2
                _LOG.warning("Out of memory: the run goes on in batches of %d.", self.batch_size)
            else:
                continue
            torch.cuda.empty_cache()  # not before: the error held the batch that did not fit

    @torch.no_grad()
    def _paint(self, jobs: Sequence[_Job]) -> Iterator[Outcome]:
        """The outcomes of jobs on at most ``batch_size`` faces."""
        places = {id(job.face): job.face for job in jobs}
        faces = _padded(list(places.values()), self.batch_size)
        order = {key: index for index, key in enumerate(places)}
        device = self.amplifier.device
        shape = self.amplifier.noise_shape
        with self.times.measure("model"):
            source = torch.stack([to_tensor(face.source) for face in faces]).to(device)
            masks = torch.stack([torch.from_numpy(face.regions.masks) for face in faces]).to(device)
            noises = [pair_noise(shape, self.seed, face.content_hash, attempt=0) for face in faces]
            shared = self.amplifier.share(
                source, masks, [face.regions.face for face in faces], torch.stack(noises).to(device)
            )
        for begin in range(0, len(jobs), self.batch_size):
            chunk = jobs[begin : begin + self.batch_size]
            padded = _padded(chunk, self.batch_size)
            members = [order[id(job.face)] for job in padded]
            styles = [self.styles[job.pair.style] for job in padded]
            with self.times.measure("model"):  # up to .cpu(), which waits for the device
                residuals = self.amplifier.residuals(shared, members, styles)
                gains = (
                    torch.stack([self.strength.gains(style) for style in styles]).to(device) * self.amplifier.gains()
                )
                targets = compose(source[members], masks[members], residuals, gains, self.strength.detail).cpu()
                leaks = raw_leakage(residuals.makeup, masks[members], gains).cpu()
                finite = residuals.finite().cpu()
            for job, target, leak, usable in zip(chunk, targets, leaks, finite, strict=False):
                if usable:
                    measured = {"raw_leakage": float(leak), "batch_size": float(self.batch_size)}
                    yield _outcome(job, to_uint8(target), measured)
                else:
                    yield Outcome(_unusable(job.pair, job.face.index, _OVERFLOWN))


def raw_leakage(makeup: torch.Tensor, masks: torch.Tensor, gains: torch.Tensor) -> torch.Tensor:
    """Share of a makeup residual that lies outside all regions it is wanted in, in [0, 1], (N,).

    Taken before the masks stop it: what the model wanted to paint where no makeup belongs. 0 where nothing is painted.

    Args:
        makeup: R_m (N, 3, H, W).
        masks: M_r (N, 4, H, W).
        gains: k_r (N, 4); a region with gain 0 is none of the style's.
    """
    worn = gains > 0
    change = makeup.abs().sum(1) * worn.any(1)[:, None, None]
    wanted = (masks * worn[..., None, None]).sum(1) > 0
    return (change * ~wanted).sum((1, 2)) / change.sum((1, 2)).clamp_min(torch.finfo(change.dtype).tiny)


def _count_faces(items: Sequence[_Job | Outcome]) -> int:
    return len({id(item.face) for item in items if isinstance(item, _Job)})


def _first_faces(jobs: Sequence[_Job], count: int) -> Sequence[_Job]:
    """The leading jobs on at most so many faces."""
    fitting = (end for end in range(len(jobs), 0, -1) if _count_faces(jobs[:end]) <= count)
    return jobs[: next(fitting)]


def _padded(items: Sequence[T], size: int) -> list[T]:
    """The items, the last one repeated: a pass of the model always has the same number of rows (law 5)."""
    return [*items, *[items[-1]] * (size - len(items))]


def _unusable(pair: PlannedPair, face: int, error: SourceError) -> PairRow:
    """The row of a pair whose source gives none."""
    return PairRow(pair.place, face, pair.path, pair.style, 0, error.status, error.stage, error.reason, "", "")


def _outcome(job: _Job, target: np.ndarray, measured: Mapping[str, float]) -> Outcome:
    pair, face = job.pair, job.face
    change = np.maximum(target, face.source) - np.minimum(target, face.source)
    total = face.regions.total
    red, green, blue = np.moveaxis(change, -1, 0)  # any() over the short last axis takes ten times as long
    background = (total == 0) & ((red | green | blue) > 0)
    measures = {
        "background_pixels": float(np.count_nonzero(background)),  # those changed where M = 0: law 3 says none
        "makeup_change": float(change.mean() / 255),
        "mask_share": float(total.mean()),
        **measured,
    }
    name = pair_name(pair.place, face.index)
    row = PairRow(pair.place, face.index, pair.path, pair.style, 0, "ok", "", "", name, face.content_hash, measures)
    return Outcome(row, face.source, target, face.source_png)
