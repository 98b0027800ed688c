"""The evaluation stage: `run_eval.py` from its configuration to metrics.json, pairs.parquet, figures and a report."""

import io
import shutil
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from dda.config.run_folder import resolve_pairs, resolve_run
from dda.config.schema import EvalConfig
from dda.console import CONSOLE, pairs_progress, print_line
from dda.evaluation.evaluator import Evaluator, Measurement, fit_batch_size
from dda.evaluation.metric_suite import MetricSuite
from dda.evaluation.result import METRICS_NAME, PAIRS_NAME, PairResult, Result, metrics_json, pairs_table
from dda.evaluation.summary import summarize
from dda.files import write_atomically
from dda.images import read_image
from dda.metrics.labels import column_label
from dda.pairs.folder import PairFiles, choose_pairs, find_pairs, find_run_pairs
from dda.pairs.run_files import MANIFEST
from dda.png import encode_png
from dda.report.html import REPORT_NAME, html_report
from dda.report.metrics_table import result_table
from dda.report.plots import draw_plots
from dda.report.samples import SAMPLES_NAME, GridRow, samples_from_records, samples_visualization
from dda.system.device import pick_device
from dda.tracking.artifacts import dataset_name, dataset_version
from dda.tracking.tracker import MAX_TABLE_ROWS, Tracker, open_tracker
from dda.tracking.wandb_run import recorded_runs

BEST_WORST_NAME = "best_worst.png"
PLOTS_FOLDER = "plots"

_SUMMARY_PARTS = {"target": "", "untouched": "untouched/", "oracle": "oracle/", "untouched_oracle": "untouched_oracle/"}
"""What W&B's summary calls the numbers of each comparison."""

_SHOWN_PAIRS = 3  # of each end of a column in best_worst.png: one line of the figure


def main(cfg: EvalConfig) -> None:
    """Measure the pairs of a run or of a folder; an older evaluation of the same name is replaced once this is done.

    Raises:
        UserError: a mistake in the configuration, a folder without pairs, or no pair that can be measured.
    """
    run = resolve_run(cfg, "eval")
    root = resolve_pairs(cfg)
    device = pick_device(cfg.device)
    pairs = choose_pairs(_find_pairs(cfg, root), cfg.num_samples, cfg.seed)
    suite = MetricSuite(cfg.metrics, device)
    batch_size = fit_batch_size(cfg.batch_size, device)
    evaluator = Evaluator(pairs, suite, cfg.parser.open(device), batch_size, cfg.batch.workers)
    title = run.folder.name
    group, lineage = (title, None) if cfg.run is None else _describe_lineage(cfg, root)
    run.folder.mkdir(parents=True, exist_ok=True)
    with open_tracker(cfg, run.folder, "eval", group, lineage) as tracker:
        for version in lineage["datasets"] if lineage else []:
            tracker.use_dataset(version)
        measurements = _measure(evaluator, tracker)
        result = summarize(title, str(root), cfg.oracle, measurements, suite, cfg.seed)
        plots = draw_plots(result)
        figures = {SAMPLES_NAME: _draw_samples(result)}
        if any("best" in ends for ends in result.best_worst.values()):
            figures[BEST_WORST_NAME] = _draw_best_worst(result)
        _write(run.folder, result, figures, plots)
        _track(tracker, result, figures, plots)
    CONSOLE.print(result_table(result))
    print_line(f"The report is in {run.folder / REPORT_NAME}")


def _find_pairs(cfg: EvalConfig, root: Path) -> list[PairFiles]:
    oracle = None if cfg.oracle is None else Path(cfg.oracle)
    return find_pairs(root, oracle) if cfg.run is None else find_run_pairs(root, oracle)


def _describe_lineage(cfg: EvalConfig, root: Path) -> tuple[str, dict[str, Any]]:
    """Return the W&B group of the run that made the pairs (a job of a multirun is in the multirun's), and what it was.

    Offline no artifact can be named as an input, so the run's id and its datasets' versions are in the configuration.
    """
    folder, runs = root.resolve(), Path(cfg.paths.outputs, "amplify").resolve()
    name = folder.relative_to(runs).parts[0] if folder != runs and folder.is_relative_to(runs) else folder.name
    jobs = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    ids = [run for job in jobs for run in recorded_runs(job)]
    made = [job for job in jobs if (job / MANIFEST).is_file()]
    datasets = [dataset_version(dataset_name(name, job), job / MANIFEST) for job in made]
    return name, {"run": name, "folder": str(root), "wandb_runs": ids, "datasets": datasets}


def _measure(evaluator: Evaluator, tracker: Tracker) -> list[Measurement]:
    measurements = []
    with pairs_progress() as progress:
        task = progress.add_task("evaluate", total=len(evaluator))
        steps = iter(evaluator)
        while batch := list(islice(steps, evaluator.batch_size)):
            measurements += batch
            progress.update(task, completed=len(measurements))
            rejected = sum(m.pair.status == "rejected" for m in measurements)
            tracker.log({"rejected": rejected}, step=len(measurements) - rejected)
    return measurements


# --- What is written --------------------------------------------------------------------------------------


def _write(folder: Path, result: Result, figures: Mapping[str, np.ndarray], plots: Mapping[str, np.ndarray]) -> None:
    """Replace what an older evaluation left; metrics.json comes last, so where it is the rest is whole."""
    for name in (METRICS_NAME, PAIRS_NAME, REPORT_NAME, SAMPLES_NAME, BEST_WORST_NAME):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / PLOTS_FOLDER, ignore_errors=True)
    (folder / PLOTS_FOLDER).mkdir()
    table = io.BytesIO()
    pq.write_table(pairs_table(result), table)
    write_atomically(folder / PAIRS_NAME, table.getvalue())
    for name, figure in figures.items():
        write_atomically(folder / name, encode_png(figure))
    for name, plot in plots.items():
        write_atomically(folder / PLOTS_FOLDER / f"{name}.png", encode_png(plot))
    write_atomically(folder / REPORT_NAME, html_report(result, plots))
    write_atomically(folder / METRICS_NAME, metrics_json(result))


def _draw_samples(result: Result) -> np.ndarray:
    records = [
        {"path": pair.face, "face": 0, "style": pair.style, "source": pair.source_path, "target": pair.target_path}
        for pair in result.measured
    ]
    return samples_from_records(Path(), records)


def _draw_best_worst(result: Result) -> np.ndarray:
    """Draw the pairs at the two ends of each column that has a better one, a line of the figure each."""
    by_name = {pair.name: pair for pair in result.measured}
    rows = []
    for column, ends in result.best_worst.items():
        for end in ("best", "worst"):
            rows += [
                _grid_row(by_name[name], f"{column_label(column)}: {end}") for name in ends.get(end, [])[:_SHOWN_PAIRS]
            ]
    return samples_visualization(rows)


def _grid_row(pair: PairResult, title: str) -> GridRow:
    return GridRow(read_image(Path(pair.source_path)), {title: read_image(Path(pair.target_path))})


# --- What is tracked --------------------------------------------------------------------------------------


def _track(
    tracker: Tracker, result: Result, figures: Mapping[str, np.ndarray], plots: Mapping[str, np.ndarray]
) -> None:
    for name, figure in figures.items():
        tracker.log_image(Path(name).stem, figure, caption=result.title)
    for name, plot in plots.items():
        tracker.log_image(f"plots/{name}", plot, caption=result.title)
    tracker.log_table("pairs", *_make_table(result))
    means = {
        f"{part}{column.name}": statistic.mean
        for comparison, part in _SUMMARY_PARTS.items()
        for column in result.columns_of(comparison)
        if (statistic := result.statistic(column))
    }
    means |= {
        f"{style}/{column.name}": table[column.full_name].mean
        for style, table in result.by_style.items()
        for column in result.columns_of("target")
    }
    tracker.summary(
        {
            "pairs_measured": len(result.measured),
            "rejected": len(result.rejected),
            "verdicts": [f"{verdict.level}: {verdict.text}" for verdict in result.verdicts],
            **means,
            **{f"set/{name}": value for name, value in result.set_values.items()},
        }
    )


def _make_table(result: Result) -> tuple[list[str], list[list[Any]]]:
    """Return columns and rows of the table of pairs, with their thumbnails."""
    pairs = [pair for pair in result.measured if pair.thumbnails][:MAX_TABLE_ROWS]
    sides = [side for side in ("source", "target", "oracle") if any(side in pair.thumbnails for pair in pairs)]
    names = [column.full_name for part in ("target", "oracle") for column in result.columns_of(part)]
    return ["name", "style", *sides, *names], [
        [
            pair.name,
            pair.style,
            *(_decode_thumbnail(pair.thumbnails[side]) if side in pair.thumbnails else None for side in sides),
            *(pair.numbers.get(name) for name in names),
        ]
        for pair in pairs
    ]


def _decode_thumbnail(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)))
