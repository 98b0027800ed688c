"""The evaluation: a folder of pairs in, metrics, verdicts and a report out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from dda.api.amplifier import PARSERS
from dda.api.folders import find_folder_pairs
from dda.errors import OptionError
from dda.evaluation.evaluator import Evaluator, fit_batch_size
from dda.evaluation.metric_suite import MetricSuite
from dda.evaluation.result import Result, Statistic, pairs_table
from dda.evaluation.summary import summarize
from dda.evaluation.verdict import Verdict
from dda.files import write_atomically
from dda.options import check_limit, one_of
from dda.pairs.folder import choose_pairs
from dda.report.html import html_report
from dda.report.plots import draw_plots
from dda.system.device import pick_device


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation found; `docs/evaluation.md` tells what every metric measures.

    Args:
        result: the numbers of every pair and of the set.
    """

    result: Result

    @property
    def metrics(self) -> dict[str, Statistic]:
        """The metrics of the pairs by name: mean, sd, and the 95 % interval [low, high] of the mean.

        A name that begins with ``baseline_`` is the metric of the untouched source, with ``oracle_`` the target's
        distance to the oracle.
        """
        return dict(self.result.statistics)

    @property
    def by_style(self) -> dict[str, Mapping[str, Statistic]]:
        """The same by style; empty where the styles of the pairs are not known."""
        return dict(self.result.by_style)

    @property
    def set_metrics(self) -> dict[str, float]:
        """The metrics of the set as a whole, such as ``separability``, by name."""
        return dict(self.result.set_values)

    @property
    def missing(self) -> dict[str, str]:
        """The metrics that were not measured, each with the reason."""
        return dict(self.result.missing)

    @property
    def verdicts(self) -> list[Verdict]:
        """What the metrics mean, worst first: each has a ``level`` (bad, warn, good) and a ``text``."""
        return list(self.result.verdicts)

    @property
    def pairs(self) -> pa.Table:
        """The metrics of every pair, a row each, rejected pairs too."""
        return pairs_table(self.result)

    def to_html(self, path: str | Path) -> None:
        """Write the report: one file with its plots and pictures, which a browser opens from the disk."""
        write_atomically(Path(path).expanduser(), html_report(self.result, draw_plots(self.result)))


def evaluate(
    folder: str | Path,
    *,
    oracle: str | Path | None = None,
    metrics: Sequence[str] | None = None,
    num_samples: int | None = None,
    parser: str = "mesh",
    device: str = "auto",
    batch_size: int = 8,
    workers: int = 2,
    seed: int = 0,
) -> Evaluation:
    """Measure the pairs of a folder.

    Args:
        folder: the folder of a run of `run_amplify.py`, or any folder with ``source/`` and ``target/`` pictures of
            equal names.
        oracle: a folder of true targets under the names of the pairs.
        metrics: names of the metrics (`docs/evaluation.md`); None: all that can be measured.
        num_samples: how many pairs to measure, chosen by the seed; None: all.
        parser: finds the regions: mesh | farl (downloads weights).
        device: auto (a GPU where there is one) | cpu | cuda | cuda:N | mps.
        batch_size: pairs in one pass on a GPU; a CPU measures them one by one, which is faster there.
        workers: threads that decode and parse beside the metrics.
        seed: of the choice, of the bootstrap and of KID's subsets.

    Raises:
        OptionError: an option does not fit, or the folder has no pairs.
        UserError: none of the pairs can be measured.

    Example:
        >>> import dda, tempfile
        >>> from skimage import data
        >>> folder = tempfile.mkdtemp()
        >>> pair = dda.Amplifier.from_pretrained(batch_size=1)(data.astronaut(), "Red lip makeup")
        >>> pair.save(folder, "eileen")
        >>> evaluation = dda.evaluate(folder, metrics=["strength", "leakage"])
        >>> evaluation.metrics["strength_lips"].mean > evaluation.metrics["strength_skin"].mean
        True
        >>> evaluation.to_html(f"{folder}/report.html")
    """
    check_limit("parser", parser, one_of(*PARSERS))
    if num_samples is not None and num_samples < 1:
        raise OptionError("num_samples", "must be 1 or more, or None for all pairs", num_samples)
    root = Path(folder).expanduser()
    truths = None if oracle is None else Path(oracle).expanduser()
    pairs = choose_pairs(find_folder_pairs(root, truths), num_samples, seed)
    where = pick_device(device)
    suite = MetricSuite(metrics, where)
    evaluator = Evaluator(pairs, suite, PARSERS[parser]().open(where), fit_batch_size(batch_size, where), workers)
    measurements = list(evaluator)
    result = summarize(
        root.resolve().name, str(root), None if truths is None else str(truths), measurements, suite, seed
    )
    return Evaluation(result)
