"""Amplification: from planned (face, style) pairs to finished pictures, in the order of the plan."""

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from dda.faces.mesh import Face
from dda.faces.prepare import PreparedFace, SourceError
from dda.images import to_tensor, to_uint8
from dda.models.rdm import compose
from dda.pairs.journal import PairRow
from dda.pairs.plan import PlannedPair
from dda.pairs.writer import pair_name
from dda.seeds import pair_noise
from dda.styles import REGIONS, Style


class Amplifier(Protocol):
    """What amplification asks of a model; see :class:`dda.models.compact.CompactAmplifier`."""

    device: torch.device
    noise_shape: tuple[int, int, int]

    def gains(self) -> torch.Tensor: ...

    def residuals(
        self,
        source: torch.Tensor,
        masks: torch.Tensor,
        faces: Sequence[Face],
        styles: Sequence[Style],
        noise: torch.Tensor,
    ) -> torch.Tensor: ...


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


class Amplification:
    """An iterable of outcomes in plan order, ``len`` of which are pairs if enough sources can be used.

    Pictures are decoded and parsed by ``workers`` threads ahead of the model. A batch is always padded to
    ``batch_size``, so a pair's bytes depend on its own key and not on what is made beside it.

    Args:
        pairs: planned pairs still to try, in order; the styles of a face that lie side by side share its preparation.
        wanted: stop after the place that brings so many pairs; None: try them all.
        prepare: path to the faces of a picture, each prepared or refused; raises SourceError for the whole picture.
            Called from several threads.
        amplifier: the model.
        styles: by name.
        strength: the run's strengths.
        batch_size: pairs in one pass of the model.
        seed: root seed of the noise.
        workers: threads that prepare.
    """

    def __init__(
        self,
        pairs: Sequence[PlannedPair],
        wanted: int | None,
        prepare: Callable[[str], list[PreparedFace | SourceError]],
        amplifier: Amplifier,
        styles: Mapping[str, Style],
        strength: Strength,
        batch_size: int,
        seed: int,
        workers: int,
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

    def __len__(self) -> int:
        return len(self.pairs) if self.wanted is None else self.wanted

    def __iter__(self) -> Iterator[Outcome]:
        batch: list[_Job] = []
        with ThreadPoolExecutor(self.workers, thread_name_prefix="prepare") as pool:
            prepared = self._prepared(pool)
            try:
                for item in self._up_to_wanted(prepared):
                    if isinstance(item, Outcome):
                        yield from self._paint(batch)  # in plan order: what came before it first
                        batch = []
                        yield item
                        continue
                    batch.append(item)
                    if len(batch) == self.batch_size:
                        yield from self._paint(batch)
                        batch = []
                yield from self._paint(batch)
            finally:
                prepared.close()

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
        ahead: deque[tuple[list[PlannedPair], Future[list[PreparedFace | SourceError]]]] = deque()
        window = self.workers + 2 * self.batch_size  # a batch ready while the one before is painted
        try:
            while True:
                for group in itertools.islice(groups, window - len(ahead)):
                    ahead.append((group, pool.submit(self.prepare, group[0].path)))
                if not ahead:
                    return
                group, future = ahead.popleft()
                try:
                    faces = future.result()
                except SourceError as error:
                    faces = [error]
                for pair in group:
                    for index, face in enumerate(faces):
                        yield (
                            Outcome(_unusable(pair, index, face)) if isinstance(face, SourceError) else _Job(pair, face)
                        )
        finally:
            for _, future in ahead:
                future.cancel()

    @torch.no_grad()
    def _paint(self, batch: list[_Job]) -> Iterator[Outcome]:
        """The finished pairs of a batch."""
        if not batch:
            return
        padded = batch + [batch[-1]] * (self.batch_size - len(batch))
        device = self.amplifier.device
        styles = [self.styles[job.pair.style] for job in padded]
        source = torch.stack([to_tensor(job.face.source) for job in padded]).to(device)
        masks = torch.stack([torch.from_numpy(job.face.regions.masks) for job in padded]).to(device)
        shape = self.amplifier.noise_shape
        noise = torch.stack([pair_noise(shape, self.seed, job.face.content_hash, attempt=0) for job in padded])
        faces = [job.face.regions.face for job in padded]
        makeup = self.amplifier.residuals(source, masks, faces, styles, noise.to(device))
        gains = torch.stack([self.strength.gains(style) for style in styles]).to(device) * self.amplifier.gains()
        target = compose(source, masks, makeup, gains, detail_kept=self.strength.detail).cpu()
        for job, picture in zip(batch, target, strict=False):
            yield _finished(job, to_uint8(picture))


def _unusable(pair: PlannedPair, face: int, error: SourceError) -> PairRow:
    """The row of a pair whose source gives none."""
    return PairRow(pair.place, face, pair.path, pair.style, 0, error.status, error.stage, error.reason, "", "")


def _finished(job: _Job, target: np.ndarray) -> Outcome:
    pair, face = job.pair, job.face
    change = np.maximum(target, face.source) - np.minimum(target, face.source)
    total = face.regions.total
    background = (total == 0) & change.any(-1)
    measures = {
        "background_error": float(np.count_nonzero(background)),  # pixels changed where M = 0: law 3 says none
        "makeup_change": float(change.mean() / 255),
        "mask_share": float(total.mean()),
    }
    name = pair_name(pair.place, face.index)
    row = PairRow(pair.place, face.index, pair.path, pair.style, 0, "ok", "", "", name, face.content_hash, measures)
    return Outcome(row, face.source, target, face.source_png)
