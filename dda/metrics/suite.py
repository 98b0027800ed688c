"""The metrics of one evaluation: those asked for, those that cannot be measured here, and how they are applied."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from dda.errors import UserError
from dda.metrics.background import Background
from dda.metrics.color import region_change
from dda.metrics.detail import DetailKept
from dda.metrics.edit_offset import EditOffset
from dda.metrics.eyeliner import Eyeliner
from dda.metrics.identity import Identity
from dda.metrics.inception import Inception
from dda.metrics.leakage import Leakage
from dda.metrics.lpips import Lpips
from dda.metrics.metric import Column, Distance, MissingWeights, PairBatch, PairMetric
from dda.metrics.ms_ssim import MsSsim
from dda.metrics.psnr import Psnr, masked_psnr
from dda.metrics.skin_tone import SkinTone
from dda.metrics.ssim import Ssim
from dda.metrics.st_lpips import StLpips
from dda.metrics.strength import Strength
from dda.metrics.structure import Structure
from dda.regions import REGIONS

DISTANCES: dict[str, Callable[[torch.device], Distance]] = {
    "ssim": lambda device: Ssim(),
    "psnr": lambda device: Psnr(),
    "ms_ssim": lambda device: MsSsim(),
    "lpips": Lpips,
    "st_lpips": StLpips,
    "structure": lambda device: Structure(),
}
PAIR_METRICS: dict[str, Callable[[], PairMetric]] = {
    "strength": Strength,
    "leakage": Leakage,
    "background": Background,
    "detail": DetailKept,
    "eyeliner": Eyeliner,
    "edit_offset": EditOffset,
    "identity": Identity,
    "skin_tone": SkinTone,
}
SET_METRICS = ("separability", "consistency", "fid", "kid")
NAMES = (*DISTANCES, *PAIR_METRICS, *SET_METRICS)

# The distances that say how near a target comes to the true one, and which of their ends is the near one.
TO_ORACLE = {"psnr": "higher", "ssim": "higher", "ms_ssim": "higher", "lpips": "lower", "st_lpips": "lower"}


@dataclass
class BatchNumbers:
    """What was measured on N pairs: by column name (N,) each, on the CPU.

    Attributes:
        values, baseline, against_oracle, untouched_against_oracle: as in `dda.evaluation.result.PairResult`.
        changes: mean CIELAB change of each region (N, 4, 3).
        features: Inception's features (N, 2048) by "source", "target" and "oracle"; empty where it is not used.
    """

    values: dict[str, torch.Tensor]
    baseline: dict[str, torch.Tensor]
    against_oracle: dict[str, torch.Tensor]
    untouched_against_oracle: dict[str, torch.Tensor]
    changes: torch.Tensor
    features: dict[str, torch.Tensor]


class Suite:
    """The metrics that `names` asks for, on one device.

    Attributes:
        missing: metric to the reason why it cannot be measured here.
        columns: of a pair, by name.
        oracle_columns: of a comparison with the oracle, by name.

    Raises:
        UserError: a name that is no metric's.
    """

    def __init__(self, names: Sequence[str] | None, device: torch.device) -> None:
        for name in names or ():
            if name not in NAMES:
                raise UserError(f"metrics: there is no metric {name}; allowed: {', '.join(NAMES)}")
        self.device = device
        self.names = [name for name in NAMES if names is None or name in names]
        self.missing: dict[str, str] = {}
        self.distances: dict[str, Distance] = {}
        self.pair_metrics: dict[str, PairMetric] = {}
        self.inception: Inception | None = None
        self._known_to_itself: dict[str, torch.Tensor] = {}
        for name in self.names:
            if name == "st_lpips" and names is None and "lpips" in self.distances:
                self.missing[name] = "it stands in for LPIPS, which was measured; metrics=[st_lpips] measures it"
                continue
            try:
                self._open(name)
            except MissingWeights as error:
                self.missing[name] = error.reason
        pairwise = [column for metric in self.pair_metrics.values() for column in metric.columns]
        self.columns = {c.name: c for c in (*pairwise, *(metric.column for metric in self.distances.values()))}
        self.oracle_columns = {c.name: c for name in self.distances if name in TO_ORACLE for c in self._to_oracle(name)}

    def measures(self, name: str) -> bool:
        """Whether the metric was asked for and can be measured."""
        return name in self.names and name not in self.missing

    @torch.inference_mode()
    def __call__(self, batch: PairBatch) -> BatchNumbers:
        """Measure a batch, which lies on the suite's device."""
        against, untouched = {}, {}
        if batch.oracle is not None:
            against = self._against_oracle(batch, batch.target)
            untouched = self._against_oracle(batch, batch.source)
        return BatchNumbers(
            values=self._values(batch),
            baseline=self._baseline(batch),
            against_oracle=against,
            untouched_against_oracle=untouched,
            changes=region_change(batch).cpu(),
            features=self._features(batch),
        )

    def _open(self, name: str) -> None:
        if name in DISTANCES:
            self.distances[name] = DISTANCES[name](self.device)
        elif name in PAIR_METRICS:
            self.pair_metrics[name] = PAIR_METRICS[name]()
        elif name in ("fid", "kid") and self.inception is None:
            self.inception = Inception(self.device)

    def _values(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        values = {name: metric(batch.source, batch.target) for name, metric in self.distances.items()}
        return self._with_pair_metrics(values, batch)

    def _baseline(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        values = {name: self._to_itself(name, batch.source) for name in self.distances}
        return self._with_pair_metrics(values, batch.untouched())

    def _to_itself(self, name: str, pictures: torch.Tensor) -> torch.Tensor:
        """A distance of pictures (N, 3, H, W) to themselves, (N,): of a learned one, the first picture's for all.

        It is the same for every picture, and takes long.
        """
        metric = self.distances[name]
        if not metric.column.weights:
            return metric(pictures, pictures)
        if name not in self._known_to_itself:
            self._known_to_itself[name] = metric(pictures[:1], pictures[:1])
        return self._known_to_itself[name].expand(len(pictures))

    def _with_pair_metrics(self, values: dict[str, torch.Tensor], batch: PairBatch) -> dict[str, torch.Tensor]:
        for metric in self.pair_metrics.values():
            values |= metric(batch)
        return {name: values[name].float().cpu() for name in self.columns}

    def _against_oracle(self, batch: PairBatch, picture: torch.Tensor) -> dict[str, torch.Tensor]:
        assert batch.oracle is not None
        values = {name: self.distances[name](picture, batch.oracle) for name in TO_ORACLE if name in self.distances}
        if "psnr" in self.distances:
            values["psnr_face"] = masked_psnr(picture, batch.oracle, batch.oval.float())
            for region in REGIONS:
                values[f"psnr_{region}"] = masked_psnr(picture, batch.oracle, batch.mask(region))
        return {name: values[name].float().cpu() for name in self.oracle_columns}

    def _features(self, batch: PairBatch) -> dict[str, torch.Tensor]:
        if self.inception is None:
            return {}
        pictures = {"source": batch.source, "target": batch.target, "oracle": batch.oracle}
        return {side: self.inception(picture).cpu() for side, picture in pictures.items() if picture is not None}

    def _to_oracle(self, name: str) -> list[Column]:
        """The columns of a distance that is taken to the oracle."""
        column = self.distances[name].column
        about = (
            f"How near the target comes to the true one{{}}, by {name.upper().replace('_', '-')}; to be read beside "
            "what the untouched source gets."
        )
        columns = [replace(column, better=TO_ORACLE[name], about=about.format(""))]
        if name == "psnr":
            where = {"face": " inside the grown face oval", **{region: f" in the {region}" for region in REGIONS}}
            columns += [
                replace(columns[0], name=f"psnr_{part}", about=about.format(place)) for part, place in where.items()
            ]
        return columns
