"""The metrics of one evaluation: those asked for, those that cannot be measured here, and how they are applied."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from dda.errors import OptionError
from dda.metrics.color import compute_region_change
from dda.metrics.inception import Inception
from dda.metrics.metric import Column, Distance, MissingWeights, PairBatch, PairMetric, PairSet
from dda.metrics.psnr import masked_psnr
from dda.metrics.registry import (
    DISTANCES,
    INCEPTION_METRICS,
    NAMES,
    ORACLE_DIRECTIONS,
    PAIR_METRICS,
    RENAMED,
    SET_METRICS,
    SILENT_SET_METRICS,
)
from dda.regions import REGIONS


@dataclass(frozen=True)
class BatchNumbers:
    """The numbers of N pairs, on the CPU.

    Attributes:
        columns: (N,) each, by full name of the column.
        changes: mean CIELAB change of each region (N, 4, 3).
        features: Inception's features (N, 2048) by "source", "target" and "oracle"; empty where it is not used.
    """

    columns: dict[str, torch.Tensor]
    changes: torch.Tensor
    features: dict[str, torch.Tensor]


class MetricSuite:
    """The metrics that `names` asks for, on one device.

    Attributes:
        missing: metric to the reason why it cannot be measured here.
        columns: of pairs, by full name: target with source, and the identity baseline.
        oracle_columns: of pairs with an oracle, by full name: target with oracle, and source with oracle.

    Raises:
        OptionError: a name that is not a metric's.
    """

    def __init__(self, names: Sequence[str] | None, device: torch.device) -> None:
        for name in names or ():
            if name in RENAMED:
                raise OptionError("metrics", f"{name} is called {RENAMED[name]} now")
            if name not in NAMES:
                raise OptionError("metrics", f"there is no metric {name}; allowed: {', '.join(NAMES)}")
        self.device = device
        self.names = [name for name in NAMES if names is None or name in names]
        self.missing: dict[str, str] = {}
        self.distances: dict[str, Distance] = {}
        self.pair_metrics: dict[str, PairMetric] = {}
        self.inception: Inception | None = None
        self._self_distances: dict[str, torch.Tensor] = {}
        for name in self.names:
            if name == "st_lpips" and names is None and "lpips" in self.distances:
                self.missing[name] = "it stands in for LPIPS, which was measured; metrics=[st_lpips] measures it"
                continue
            try:
                self._open(name)
            except MissingWeights as error:
                self.missing[name] = error.reason
        pairwise = [column for metric in self.pair_metrics.values() for column in metric.columns]
        taken = [*pairwise, *(metric.column for metric in self.distances.values())]
        self.columns = _index_columns(taken, ("target", "untouched"))
        to_oracle = [
            column for name in self.distances if name in ORACLE_DIRECTIONS for column in self._make_oracle_columns(name)
        ]
        self.oracle_columns = _index_columns(to_oracle, ("oracle", "untouched_oracle"))

    def measures(self, name: str) -> bool:
        """Return whether the metric was asked for and can be measured."""
        return name in self.names and name not in self.missing

    @torch.inference_mode()
    def __call__(self, batch: PairBatch) -> BatchNumbers:
        """Measure a batch, which lies on the suite's device."""
        compared = {"target": self._compare(batch), "untouched": self._compare_untouched(batch)}
        if batch.oracle is not None:
            compared["oracle"] = self._compare_oracle(batch, batch.oracle, batch.target)
            compared["untouched_oracle"] = self._compare_oracle(batch, batch.oracle, batch.source)
        columns = {
            full_name: compared[column.comparison][column.name].float().cpu()
            for full_name, column in (self.columns | self.oracle_columns).items()
            if column.comparison in compared
        }
        return BatchNumbers(columns, compute_region_change(batch).cpu(), self._extract_features(batch))

    def measure_set(self, pairs: PairSet) -> tuple[dict[Column, float], dict[str, str]]:
        """Return the numbers of a set, and by metric why one that was asked for has none."""
        numbers: dict[Column, float] = {}
        missing: dict[str, str] = {}
        for name in SET_METRICS:
            if not self.measures(name):
                continue
            metric = SET_METRICS[name]()
            found = metric(pairs)
            numbers |= found
            if not found and name not in SILENT_SET_METRICS:
                missing[name] = metric.needs
        return numbers, missing

    def _open(self, name: str) -> None:
        if name in DISTANCES:
            self.distances[name] = DISTANCES[name](self.device)
        elif name in PAIR_METRICS:
            self.pair_metrics[name] = PAIR_METRICS[name]()
        elif name in INCEPTION_METRICS and self.inception is None:
            self.inception = Inception(self.device)

    def _compare(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        """Compare the target with the source."""
        values = {name: metric(batch.source, batch.target) for name, metric in self.distances.items()}
        return self._with_pair_metrics(values, batch)

    def _compare_untouched(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        """Compare the source with itself: the identity baseline."""
        values = {name: self._self_distance(name, batch.source) for name in self.distances}
        return self._with_pair_metrics(values, batch.untouched())

    def _self_distance(self, name: str, pictures: torch.Tensor) -> torch.Tensor:
        """Return the distance (N,) of pictures (N, 3, H, W) to themselves; a learned one is the first picture's.

        A learned distance to itself is the same for every picture, and takes long.
        """
        metric = self.distances[name]
        if not metric.column.weights:
            return metric(pictures, pictures)
        if name not in self._self_distances:
            self._self_distances[name] = metric(pictures[:1], pictures[:1])
        return self._self_distances[name].expand(len(pictures))

    def _with_pair_metrics(self, values: dict[str, torch.Tensor], batch: PairBatch) -> dict[str, torch.Tensor]:
        for metric in self.pair_metrics.values():
            values |= metric(batch)
        return values

    def _compare_oracle(self, batch: PairBatch, oracle: torch.Tensor, picture: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compare a picture, target or source, with the oracle."""
        values = {name: self.distances[name](picture, oracle) for name in ORACLE_DIRECTIONS if name in self.distances}
        if "psnr" in self.distances:
            values["psnr_face"] = masked_psnr(picture, oracle, batch.oval.float())
            for region in REGIONS:
                values[f"psnr_{region}"] = masked_psnr(picture, oracle, batch.mask(region))
        return values

    def _extract_features(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        if self.inception is None:
            return {}
        pictures = {"source": batch.source, "target": batch.target, "oracle": batch.oracle}
        return {side: self.inception(picture).cpu() for side, picture in pictures.items() if picture is not None}

    def _make_oracle_columns(self, name: str) -> list[Column]:
        """Return the columns of a distance that is taken to the oracle."""
        column = self.distances[name].column
        about = (
            f"How near the target comes to the true one{{}}, by {name.upper().replace('_', '-')}; to be read beside "
            "what the untouched source gets."
        )
        columns = [replace(column, better=ORACLE_DIRECTIONS[name], about=about.format(""))]
        if name == "psnr":
            where = {"face": " inside the grown face oval", **{region: f" in the {region}" for region in REGIONS}}
            columns += [
                replace(columns[0], name=f"psnr_{part}", about=about.format(place)) for part, place in where.items()
            ]
        return columns


def _index_columns(columns: Sequence[Column], comparisons: Sequence[str]) -> dict[str, Column]:
    every = [column.compared(comparison) for comparison in comparisons for column in columns]
    return {column.full_name: column for column in every}
