"""MetricSuite: the metrics of one evaluation, and how they are applied."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from dda.errors import OptionError
from dda.metrics.color import compute_region_change
from dda.metrics.inception import Inception
from dda.metrics.metric import Column, Distance, MissingWeights, PairBatch, PairMetric, PairSet
from dda.metrics.psnr import masked_psnr
from dda.metrics.registry import DISTANCES, METRIC_NAMES, PAIR_METRICS, RENAMED_METRICS, SET_METRICS
from dda.regions import REGIONS


@dataclass(frozen=True)
class BatchNumbers:
    """The numbers of N pairs, on the CPU.

    Attributes:
        columns: the values (N,) of each column, by its full name.
        color_changes: mean CIELAB change of each region (N, 4, 3).
        features: Inception's features (N, 2048) by "source", "target" and "oracle"; empty if not computed.
    """

    columns: dict[str, torch.Tensor]
    color_changes: torch.Tensor
    features: dict[str, torch.Tensor]


class MetricSuite:
    """The metrics that were asked for, on one device.

    Args:
        names: names of the registry; None: all that can be measured.
        device: where they are computed.

    Attributes:
        missing: name of each metric that cannot be measured here, with the reason.
        columns: of target with source, and of the identity baseline, by full name.
        oracle_columns: of target with oracle, and of source with oracle, by full name.

    Raises:
        OptionError: an unknown name.
    """

    def __init__(self, names: Sequence[str] | None, device: torch.device) -> None:
        for name in names or ():
            if name in RENAMED_METRICS:
                raise OptionError("metrics", f"{name} was renamed to {RENAMED_METRICS[name]}")
            if name not in METRIC_NAMES:
                raise OptionError("metrics", f"there is no metric {name}; allowed: {', '.join(METRIC_NAMES)}")
        self.device = device
        self.names = [name for name in METRIC_NAMES if names is None or name in names]
        self.missing: dict[str, str] = {}
        self.distances: dict[str, Distance] = {}
        self.pair_metrics: dict[str, PairMetric] = {}
        self.inception: Inception | None = None
        self._self_distances: dict[str, torch.Tensor] = {}
        for name in self.names:
            if name == "st_lpips" and names is None and "lpips" in self.distances:
                self.missing[name] = "it replaces LPIPS, which was measured; ask for st_lpips by name to measure it too"
                continue
            try:
                self._create_metric(name)
            except MissingWeights as error:
                self.missing[name] = error.reason
        columns = [column for metric in self.pair_metrics.values() for column in metric.columns]
        columns += [metric.column for metric in self.distances.values()]
        self.columns = _key_by_full_name(columns, ("target", "untouched"))
        to_oracle = [column for metric in self._oracle_distances().values() for column in _make_oracle_columns(metric)]
        self.oracle_columns = _key_by_full_name(to_oracle, ("oracle", "untouched_oracle"))

    def measures(self, name: str) -> bool:
        """Return whether the metric was asked for and can be measured."""
        return name in self.names and name not in self.missing

    @torch.inference_mode()
    def __call__(self, batch: PairBatch) -> BatchNumbers:
        """Measure a batch, which is on the suite's device."""
        values = {"target": self._compare_target(batch), "untouched": self._compare_untouched(batch)}
        if batch.oracle is not None:
            values["oracle"] = self._compare_oracle(batch, batch.oracle, batch.target)
            values["untouched_oracle"] = self._compare_oracle(batch, batch.oracle, batch.source)
        columns = {
            full_name: values[column.comparison][column.name].float().cpu()
            for full_name, column in (self.columns | self.oracle_columns).items()
            if column.comparison in values
        }
        return BatchNumbers(columns, compute_region_change(batch).cpu(), self._extract_features(batch))

    def measure_set(self, pairs: PairSet) -> tuple[dict[Column, float], dict[str, str]]:
        """Return the values of a set by column, and the reason for each metric that has none."""
        values: dict[Column, float] = {}
        missing: dict[str, str] = {}
        for name in SET_METRICS:
            if not self.measures(name):
                continue
            metric = SET_METRICS[name]()
            measured = metric(pairs)
            values |= measured
            if not measured and metric.requirement:
                missing[name] = metric.requirement
        return values, missing

    def _create_metric(self, name: str) -> None:
        if name in DISTANCES:
            self.distances[name] = DISTANCES[name](self.device)
        if name in PAIR_METRICS:
            self.pair_metrics[name] = PAIR_METRICS[name]()
        if name in SET_METRICS and SET_METRICS[name]().uses_inception and self.inception is None:
            self.inception = Inception(self.device)

    def _oracle_distances(self) -> dict[str, Distance]:
        return {name: metric for name, metric in self.distances.items() if metric.oracle_better}

    def _compare_target(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        values = {name: metric(batch.source, batch.target) for name, metric in self.distances.items()}
        return values | self._measure_pairs(batch)

    def _compare_untouched(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        """Compare sources with themselves: the identity baseline."""
        values = {name: self._self_distance(name, batch.source) for name in self.distances}
        return values | self._measure_pairs(batch.without_makeup())

    def _self_distance(self, name: str, pictures: torch.Tensor) -> torch.Tensor:
        """Return the distance (N,) of pictures (N, 3, H, W) to themselves.

        A learned distance to itself is the same for every picture and slow, so it is computed once.
        """
        metric = self.distances[name]
        if not metric.column.weights:
            return metric(pictures, pictures)
        if name not in self._self_distances:
            self._self_distances[name] = metric(pictures[:1], pictures[:1])
        return self._self_distances[name].expand(len(pictures))

    def _measure_pairs(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        return {name: value for metric in self.pair_metrics.values() for name, value in metric(batch).items()}

    def _compare_oracle(self, batch: PairBatch, oracle: torch.Tensor, picture: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compare a picture, target or source, with the oracle."""
        values = {name: metric(picture, oracle) for name, metric in self._oracle_distances().items()}
        if "psnr" in self.distances:
            values["psnr_face"] = masked_psnr(picture, oracle, batch.oval.float())
            for region in REGIONS:
                values[f"psnr_{region}"] = masked_psnr(picture, oracle, batch.region_mask(region))
        return values

    def _extract_features(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        if self.inception is None:
            return {}
        pictures = {"source": batch.source, "target": batch.target, "oracle": batch.oracle}
        return {side: self.inception(picture).cpu() for side, picture in pictures.items() if picture is not None}


def _make_oracle_columns(metric: Distance) -> list[Column]:
    """Return the columns of a distance to the oracle; PSNR has further ones for the face and each region."""
    name = metric.column.name
    about = (
        f"How near the target comes to the true one{{}}, by {name.upper().replace('_', '-')}; to be read beside "
        "what the untouched source gets."
    )
    columns = [replace(metric.column, better=metric.oracle_better, about=about.format(""))]
    if name == "psnr":
        places = {"face": " inside the grown face oval", **{region: f" in the {region}" for region in REGIONS}}
        columns += [
            replace(columns[0], name=f"psnr_{part}", about=about.format(place)) for part, place in places.items()
        ]
    return columns


def _key_by_full_name(columns: Sequence[Column], comparisons: Sequence[str]) -> dict[str, Column]:
    compared = [column.with_comparison(comparison) for comparison in comparisons for column in columns]
    return {column.full_name: column for column in compared}
