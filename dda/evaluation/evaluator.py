"""Evaluation: from the files of pairs to measured pairs, one by one, in flat memory."""

import itertools
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

import numpy as np
import torch

from dda.evaluation.metric_suite import MetricSuite
from dda.evaluation.pair_loader import LoadedPair, UnusablePair, load_pair
from dda.evaluation.result import PairResult
from dda.faces.alignment import ALIGNED_SIZE
from dda.faces.parsing.parser import NO_MEMORY, FaceParser
from dda.images import to_tensor
from dda.metrics.metric import PREFIXES, PairBatch
from dda.pairs.folder import PairFiles
from dda.system.thread_pool import prefetch_results, thread_pool

MAX_THUMBNAILS = 256
"""How many pairs, the first ones, keep small pictures for the report."""


@dataclass
class Measurement:
    """One pair's row, and what metrics of the set take from it.

    Attributes:
        pair: its row; rejected ones have neither changes nor features.
        changes: mean CIELAB change of each region (4, 3), NaN where the face lacks it.
        features: Inception's features (2048,) by "source", "target" and "oracle", where they are asked for.
    """

    pair: PairResult
    changes: np.ndarray | None = None
    features: dict[str, torch.Tensor] = field(default_factory=dict)


class Evaluator:
    """An iterable of measurements, one a pair in the order of the pairs; its length is their number.

    Pictures are decoded and parsed by ``workers`` threads ahead of the metrics. What is kept of a pair are numbers
    and thumbnails, so memory does not grow with the pictures.

    Args:
        pairs: what to measure.
        suite: the metrics.
        parser: finds the regions of the finished sources; called from several threads.
        batch_size: pairs of 512 x 512 pixels in one pass of the metrics; larger pictures go in smaller batches.
        workers: threads that decode and parse.
    """

    def __init__(
        self, pairs: Sequence[PairFiles], suite: MetricSuite, parser: FaceParser, batch_size: int, workers: int
    ) -> None:
        self.pairs = pairs
        self.suite = suite
        self.parser = parser
        self.batch_size = batch_size
        self.workers = workers

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[Measurement]:
        def load(numbered: tuple[int, PairFiles]) -> LoadedPair | PairResult:
            index, files = numbered
            return _load_or_reject(files, self.parser, index < MAX_THUMBNAILS)

        window = self.workers + self.batch_size
        with (
            thread_pool(self.workers, "load") as pool,
            exact_arithmetic(),
            closing(prefetch_results(pool, load, enumerate(self.pairs), window)) as ahead,
        ):
            loaded = (future.result() for _, future in ahead)
            while chunk := list(itertools.islice(loaded, self.batch_size)):
                yield from self._measure_chunk(chunk)

    def _measure_chunk(self, chunk: Sequence[LoadedPair | PairResult]) -> Iterator[Measurement]:
        """Yield the measurements of a chunk in its order, taken in batches of pictures of one size."""
        by_kind: dict[tuple[tuple[int, int], bool], list[LoadedPair]] = {}
        for item in chunk:
            if isinstance(item, LoadedPair):
                by_kind.setdefault((item.shape, item.oracle is not None), []).append(item)
        measured: dict[str, Measurement] = {}
        for ((height, width), _), pairs in by_kind.items():
            size = max(1, self.batch_size * ALIGNED_SIZE**2 // max(height * width, ALIGNED_SIZE**2))
            for begin in range(0, len(pairs), size):
                batch = pairs[begin : begin + size]
                measured |= {m.pair.name: m for m in self._measure_in_halves(batch)}
        for item in chunk:
            yield Measurement(item) if isinstance(item, PairResult) else measured[item.files.name]

    def _measure_in_halves(self, batch: Sequence[LoadedPair]) -> list[Measurement]:
        """Measure a batch, in halves where the device's memory is too small for it."""
        with suppress(torch.OutOfMemoryError):
            return list(_measure_pairs(batch, self.suite))
        if len(batch) == 1:
            return [Measurement(_make_row(batch[0].files, "rejected", NO_MEMORY))]
        half = len(batch) // 2
        return self._measure_in_halves(batch[:half]) + self._measure_in_halves(batch[half:])


def fit_batch_size(batch_size: int, device: torch.device) -> int:
    """Return how many pairs to measure in one pass: one by one on a CPU, whose cache holds the arrays of one pair."""
    return 1 if device.type == "cpu" else batch_size


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Compute full float32 products on GPUs in a `with` block (no TF32: its 10-bit mantissa moves LPIPS and FID).

    cuDNN's older switch, ``allow_tf32``, goes along: PyTorch refuses to read it where it contradicts the newer ones.
    """
    cudnn = torch.backends.cudnn
    parts = (torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn)  # type: ignore[attr-defined]

    def turn(*precisions: str) -> None:
        cudnn.allow_tf32 = precisions[1] == "tf32"  # it sets cuDNN's parts too, so it comes first
        for part, precision in zip(parts, precisions, strict=True):
            part.fp32_precision = precision

    before = [part.fp32_precision for part in parts]
    turn("ieee", "ieee", "ieee")
    try:
        yield
    finally:
        turn(*before)


def _load_or_reject(files: PairFiles, parser: FaceParser, with_thumbnails: bool) -> LoadedPair | PairResult:
    try:
        return load_pair(files, parser, with_thumbnails)
    except UnusablePair as error:
        return _make_row(files, "rejected", error.reason)
    except torch.OutOfMemoryError:
        return _make_row(files, "rejected", NO_MEMORY)


def _make_row(files: PairFiles, status: str, reason: str = "") -> PairResult:
    return PairResult(
        name=files.name,
        status=status,
        reason=reason,
        style=files.style,
        source_path=str(files.source or ""),
        target_path=str(files.target or ""),
        oracle_path=str(files.oracle or ""),
        numbers={PREFIXES["made"] + name: value for name, value in files.made.items()},
    )


def _measure_pairs(pairs: Sequence[LoadedPair], suite: MetricSuite) -> Iterator[Measurement]:
    """Measure pairs of one picture size, of which all or none have an oracle."""
    numbers = suite(_make_batch(pairs, suite.device))
    for index, pair in enumerate(pairs):
        row = _make_row(pair.files, "ok")
        row.face, row.thumbnails = pair.face, pair.thumbnails
        row.numbers |= {name: float(column[index]) for name, column in numbers.columns.items()}
        features = {side: values[index] for side, values in numbers.features.items()}
        yield Measurement(row, numbers.changes[index].numpy(), features)


def _make_batch(pairs: Sequence[LoadedPair], device: torch.device) -> PairBatch:
    def stack(pictures: Sequence[np.ndarray]) -> torch.Tensor:  # channels last, of which CPUs filter faster
        return torch.stack([to_tensor(picture) for picture in pictures]).to(device, memory_format=torch.channels_last)

    oracles = [pair.oracle for pair in pairs if pair.oracle is not None]
    return PairBatch(
        source=stack([pair.source for pair in pairs]),
        target=stack([pair.target for pair in pairs]),
        oracle=stack(oracles) if oracles else None,
        masks=torch.from_numpy(np.stack([pair.masks for pair in pairs])).to(device).float() / 255,
        oval=torch.from_numpy(np.stack([pair.oval for pair in pairs]))[:, None].to(device),
        has_face=torch.tensor([pair.has_face for pair in pairs], device=device),
    )
