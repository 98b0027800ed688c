"""Following an amplification: what W&B shows of it while it goes on, and once it has ended."""

from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from dda.images import read_image, resize
from dda.pairs.journal import STATUSES, PairRow
from dda.pairs.run_files import DATA_FOLDER, MANIFEST, Run
from dda.report.samples import samples_from_records
from dda.system.memory import measure_peak_memory
from dda.system.stage_times import StageTimes
from dda.tracking.artifacts import dataset_name
from dda.tracking.tracker import Tracker

_NEWEST = 3
"""Pairs of each style in a grid."""

_TABLE_ROWS = 64
"""Pairs in the table, from all over the run: it takes a second, at the end; the artifact's manifest has them all."""

_THUMBNAIL = (128, 128)
"""Height and width of the pictures in the table."""


class RunLogger:
    """Tells a tracker how an amplification goes.

    Args:
        tracker: what to tell.
        run: the run.
        times: takes the seconds by stage of whoever makes the pairs.
        grid_pairs: new pairs between two sample grids; 0: no grids.
    """

    def __init__(self, tracker: Tracker, run: Run, times: StageTimes, grid_pairs: int) -> None:
        self._tracker, self._run, self._times, self._grid_pairs = tracker, run, times, grid_pairs
        self._seconds: Counter[str] = Counter()
        self._newest: dict[str, deque[PairRow]] = defaultdict(lambda: deque(maxlen=_NEWEST))
        self._unshown = 0

    def begin(self, counts: Mapping[str, int]) -> None:
        """Log where the run stands, by status, before this process makes its first pair."""
        self._tracker.log(_count_by_status(counts), step=counts["ok"])

    def log(self, rows: Sequence[PairRow], counts: Mapping[str, int], pairs_per_second: float) -> None:
        """Log how far the run is.

        Args:
            rows: of the pairs tried since the last call.
            counts: pairs by status, those of earlier processes too.
            pairs_per_second: of this process.
        """
        seconds = self._times.pop_seconds()
        self._seconds.update(seconds)
        new = [row for row in rows if row.status == "ok"]
        self._tracker.log(
            {
                "pairs_per_second": pairs_per_second,
                **_count_by_status(counts),
                **{f"seconds_per_pair/{stage}": spent / len(new) for stage, spent in seconds.items() if new},
                **_memory(),
            },
            step=counts["ok"],
        )
        for row in new:
            self._newest[row.style].append(row)
        self._unshown += len(new)
        if self._grid_pairs and self._unshown >= self._grid_pairs:
            self._unshown = 0
            self._log_grid()

    def close(self, rows: Sequence[PairRow], made: int, seconds: float, samples: np.ndarray | None) -> None:
        """Log the run as a whole.

        Args:
            rows: what the journal says of every pair tried.
            made: pairs finished by this process.
            seconds: what those took.
            samples: the figure of the finished run, and with it the word that there is a manifest; else None.
        """
        done = [row for row in rows if row.status == "ok"]
        self._seconds.update(self._times.pop_seconds())
        self._tracker.summary(
            {
                **_count_by_status(Counter(row.status for row in rows)),
                "pairs_made_now": made,
                "pairs_per_second": made / seconds if made else 0.0,
                "background_pixels": sum(row.measures["background_pixels"] for row in done),
                "makeup_change": _makeup_change(done),
                **{f"seconds/{stage}": spent for stage, spent in self._seconds.items()},
                **_memory(),
                **_summarize_styles(done),
            }
        )
        if done:
            measures = sorted({name for row in done for name in row.measures})
            columns = ["name", "source", "target", "style", *measures]
            shown = done[:: ceil(len(done) / _TABLE_ROWS)]
            self._tracker.log_table("pairs", columns, lambda: self._table(shown, measures))
        if samples is not None:
            self._tracker.log_image("samples", samples, caption=self._run.name)
            self._log_dataset()

    def _log_dataset(self) -> None:
        folder = self._run.folder
        styles = Counter(pq.read_table(folder / MANIFEST, columns=["style"]).column("style").to_pylist())
        facts = {"pairs": styles.total(), "styles": dict(styles)}
        self._tracker.log_dataset(dataset_name(self._run.name, folder), folder / MANIFEST, folder / DATA_FOLDER, facts)

    def _log_grid(self) -> None:
        records = [self._record(row) for rows in self._newest.values() for row in rows]
        self._tracker.log_image("newest", lambda: samples_from_records(self._run.folder, records))

    def _record(self, row: PairRow) -> dict[str, Any]:
        files = {side: f"{DATA_FOLDER}/{side}/{row.name}" for side in ("source", "target")}
        return {"path": row.path, "face": row.face, "style": row.style, **files}

    def _table(self, rows: Sequence[PairRow], measures: Sequence[str]) -> list[list[Any]]:
        data = self._run.folder / DATA_FOLDER
        return [
            [
                row.name,
                *(resize(read_image(data / side / row.name), _THUMBNAIL) for side in ("source", "target")),
                row.style,
                *(row.measures.get(name) for name in measures),
            ]
            for row in rows
        ]


def _count_by_status(counts: Mapping[str, int]) -> dict[str, int]:
    """Return the counts of all statuses, those that no pair has too."""
    return {status: counts[status] for status in STATUSES}


def _makeup_change(rows: Sequence[PairRow]) -> float:
    return float(np.mean([row.measures["makeup_change"] for row in rows])) if rows else 0.0


def _summarize_styles(rows: Sequence[PairRow]) -> dict[str, float]:
    """Return the pairs of each style and how much makeup they wear."""
    styles: dict[str, list[PairRow]] = defaultdict(list)
    for row in rows:
        styles[row.style].append(row)
    pairs = {f"{style}/pairs": len(of) for style, of in styles.items()}
    return pairs | {f"{style}/makeup_change": _makeup_change(of) for style, of in styles.items()}


def _memory() -> dict[str, float]:
    return {f"memory/{name}_peak_gib": peak for name, peak in measure_peak_memory().items()}
