"""The amplification stage: `run_amplify.py` from its configuration to a folder of pairs."""

import functools
import itertools
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from dda.amplification import Amplification, Outcome, Strength
from dda.config import Run, resolve_run
from dda.faces.dataset import FaceDataset, open_dataset
from dda.faces.mesh import FaceDetector
from dda.faces.prepare import prepare
from dda.merge import merge
from dda.mistakes import UserError
from dda.models.checkpoint import checkpoint_digest, load_compact
from dda.models.compact import CompactAmplifier
from dda.pairs.journal import Journal, PairRow, read_journal
from dda.pairs.plan import Plan, PlannedPair, ShardPlan, make_plan
from dda.pairs.writer import PairWriter
from dda.report import samples_from_manifest, summary_table
from dda.settings import claim
from dda.styles import REGIONS, Style, resolve_styles
from dda.tracking import Tracker, open_tracker

CONSOLE = Console()


def main(cfg: DictConfig) -> None:
    """Make the pairs of one run, or of one shard of it, that are still missing.

    Raises:
        UserError: a mistake in the configuration, a run begun with another one, no pair at all, or more failures
            than ``failure_budget`` allows.
    """
    run = resolve_run(cfg, "amplify")
    dataset = open_dataset(cfg.dataset)
    device = pick_device(cfg.device)
    amplifier = CompactAmplifier(load_compact(cfg.model.checkpoint), cfg.model.steps, device)
    styles = {style.name: style for style in resolve_styles(cfg.style_set, amplifier.styles)}
    plan = make_plan(dataset.paths, list(styles), cfg.style_assignment, cfg.seed)
    shard = plan.shard(cfg.shard.index, cfg.shard.count, cfg.num_pairs)
    if cfg.dry_run:
        _print_plan(cfg, run, dataset, plan, shard)
        return
    claim(run.folder, _settings(cfg, plan, styles, device))
    journal = Journal(run.folder, cfg.shard.index, cfg.shard.count)
    with journal, open_tracker(cfg, run.folder, "amplify", run.name) as tracker:
        amplification = functools.partial(
            Amplification,
            prepare=functools.partial(prepare, dataset, detector=FaceDetector(), faces=cfg.faces),
            amplifier=amplifier,
            styles=styles,
            strength=Strength(cfg.strength.makeup, cfg.strength.detail, {r: cfg.strength[r] for r in REGIONS}),
            batch_size=cfg.batch_size,
            seed=cfg.seed,
            workers=cfg.batch.workers,
        )
        began = time.monotonic()
        made = _make_missing(cfg, run, shard, journal, amplification, tracker)
        seconds = time.monotonic() - began
        journal.finish(cfg.num_pairs)
        rows = journal.rows
        _close(run, rows, made, seconds, tracker, cfg)
    _judge(cfg, run, rows)


def pick_device(name: str) -> torch.device:
    """The device of ``device=auto|cpu|cuda|...``."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _settings(cfg: DictConfig, plan: Plan, styles: dict[str, Style], device: torch.device) -> dict[str, Any]:
    """Everything that decides the bytes of the pairs; what is absent (workers, paths) does not."""
    return {
        "dataset": {"name": cfg.dataset.name, "align": cfg.dataset.align},
        "dataset.root": f"{len(plan.faces)} pictures",
        "style_set.styles": {
            s.name: {"regions": dict(s.regions), "strength": dict(s.strength)} for s in styles.values()
        },
        "style_assignment": cfg.style_assignment,
        "seed": cfg.seed,
        "faces": cfg.faces,
        "strength": OmegaConf.to_container(cfg.strength),
        "model": {"name": cfg.model.name, "steps": cfg.model.steps},
        "model.checkpoint": checkpoint_digest(cfg.model.checkpoint),
        "parser": cfg.parser.name,
        "batch_size": cfg.batch_size,
        "device": device.type,
        "shard.count": cfg.shard.count,
        "the plan (names of the pictures)": plan.fingerprint,
    }


def _make_missing(
    cfg: DictConfig, run: Run, shard: ShardPlan, journal: Journal, amplification: Any, tracker: Tracker
) -> int:
    """Make the pairs that the journal lacks; returns how many were made."""
    writer = PairWriter(run.folder, cfg.shard.index)
    tried = {row.place for row in journal.rows if row.status != "failed" and (not row.name or writer.exists(row.name))}
    counts = Counter(row.status for row in journal.rows if row.place in tried)
    before = counts["ok"]
    began = time.monotonic()
    with _progress() as progress:
        task = progress.add_task("amplify")
        # Failed pairs leave the run short: the next round takes their replacements.
        while pairs := [pair for pair in shard.pairs if pair.place not in tried]:
            wanted = None if cfg.num_pairs is None else shard.quota - counts["ok"]
            if wanted is not None and wanted <= 0:
                break
            outcomes = amplification(pairs, wanted)
            total = counts["ok"] - before + len(outcomes)
            for rows in _written(outcomes, writer, cfg.batch_size, cfg.batch.workers):
                journal.append(rows)
                tried.update(row.place for row in rows)
                new = Counter(row.status for row in rows)
                counts += new
                if wanted is None:
                    total -= new["rejected"] + new["failed"]
                made = counts["ok"] - before
                progress.update(task, completed=made, total=total)
                speed = made / (time.monotonic() - began)
                tracker.log({"pairs_per_second": speed, **counts}, step=counts["ok"])
    return counts["ok"] - before


def _written(outcomes: Iterable[Outcome], writer: PairWriter, batch_size: int, workers: int) -> Iterator[list[PairRow]]:
    """Rows of outcomes whose pictures are on the disk, place by place; writing runs beside the model."""
    with ThreadPoolExecutor(workers, thread_name_prefix="write") as pool:
        waiting: deque[tuple[list[Outcome], list[Future[PairRow]]]] = deque()
        ready: list[PairRow] = []
        for _, group in itertools.groupby(outcomes, key=lambda outcome: outcome.place):
            place = list(group)
            waiting.append((place, [pool.submit(_write, writer, outcome) for outcome in place]))
            while len(waiting) > 2 * batch_size:
                ready += [future.result() for future in waiting.popleft()[1]]
            if len(ready) >= batch_size:
                yield ready
                ready = []
        ready += [future.result() for _, futures in waiting for future in futures]
        if ready:
            yield ready


def _write(writer: PairWriter, outcome: Outcome) -> PairRow:
    row = outcome.row
    if outcome.source is None or outcome.target is None:
        return row
    try:
        writer.write(row.name, outcome.source, outcome.target, outcome.source_png)
    except OSError as error:
        return replace(row, status="failed", stage="write", reason=str(error.strerror or error), name="", measures={})
    return row


def _close(run: Run, rows: list[PairRow], made: int, seconds: float, tracker: Tracker, cfg: DictConfig) -> None:
    """Manifest, sample grid and summary. Of several shards the last one writes the manifest of all."""
    try:
        merge(run.folder)
    except UserError as error:
        if cfg.shard.count == 1:
            raise
        CONSOLE.print(f"No manifest yet: {error}", highlight=False)
    else:
        if any(row.status == "ok" for row in rows):
            grid = samples_from_manifest(run.folder)
            tracker.log_image("samples", grid, caption=run.name)
    counts = Counter(row.status for row in rows)
    changed = [row.measures["makeup_change"] for row in rows if row.status == "ok"]
    tracker.summary(
        {
            **{status: counts[status] for status in ("ok", "rejected", "failed")},
            "pairs_made_now": made,
            "pairs_per_second": made / seconds if made else 0.0,
            "background_error": sum(row.measures["background_error"] for row in rows if row.status == "ok"),
            "makeup_change": sum(changed) / len(changed) if changed else 0.0,
        }
    )
    CONSOLE.print(summary_table(rows, made, run.folder, seconds))


def _judge(cfg: DictConfig, run: Run, rows: list[PairRow]) -> None:
    counts = Counter(row.status for row in rows)
    if not counts["ok"]:
        raise UserError(
            f"no pair was made: none of {len(rows)} could be; the reasons are in {run.folder}/journal-*.jsonl"
        )
    share = counts["failed"] / len(rows)
    if share > cfg.failure_budget:
        raise UserError(
            f"failure_budget={cfg.failure_budget:g}: {counts['failed']} of {len(rows)} pairs ({share:.1%}) failed; "
            f"the reasons are in {run.folder}/journal-*.jsonl, and the same run_name tries them again"
        )


def _print_plan(cfg: DictConfig, run: Run, dataset: FaceDataset, plan: Plan, shard: ShardPlan) -> None:
    """What a run would do, from the plan and the journal alone."""
    file = Path(run.folder) / f"journal-{cfg.shard.index}of{cfg.shard.count}.jsonl"
    done = sum(row.status == "ok" for row in read_journal(file).rows.values())
    first: list[PlannedPair] = list(shard.pairs[:5])
    lines = [
        f"faces    {len(dataset)} pictures of dataset {dataset.name}",
        f"styles   {len(plan.styles)}: {', '.join(plan.styles)} ({plan.assignment})",
        f"pairs    {shard.quota} wanted of {len(plan)} that the plan holds",
        f"shard    {cfg.shard.index} of {cfg.shard.count}",
        f"done     {done} already in {run.folder}",
        f"to make  {max(shard.quota - done, 0)}",
        *(f"         {pair.place}: {pair.path}, {pair.style}" for pair in first),
    ]
    CONSOLE.print("\n".join(lines), highlight=False, markup=False)


class _PairsPerSecond(ProgressColumn):
    """Speed of the task."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f} pairs/s" if task.speed else "- pairs/s", style="cyan")


def _progress() -> Progress:
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _PairsPerSecond(),
        TimeRemainingColumn(),
        console=CONSOLE,
    )
