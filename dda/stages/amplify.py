"""The amplification stage: `run_amplify.py` from its configuration to a folder of pairs."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dda.config.run_folder import Run, resolve_run
from dda.config.settings import check_settings, store_or_check_settings
from dda.console import pairs_progress, print_line
from dda.engines.engine import Engine, open_engine
from dda.engines.processes import count_processes, launch_processes
from dda.errors import UserError
from dda.faces.dataset import FaceDataset, open_dataset
from dda.faces.parsing.parser import parser_settings
from dda.merge import merge
from dda.models.residual_pipeline import known_styles, pixel_settings
from dda.pairs.journal import Journal, PairRow, journal_file, read_journal
from dda.pairs.manifest import read_rows
from dda.pairs.plan import Plan, PlannedPair, ShardPlan, make_plan
from dda.pairs.writer import pair_exists, remove_pair
from dda.report.run_summary import print_run_summary
from dda.report.samples import samples_from_manifest
from dda.styles import Style, resolve_styles
from dda.system.device import pick_device
from dda.tracking.run_logger import RunLogger
from dda.tracking.tracker import open_tracker


def main(cfg: DictConfig) -> None:
    """Make the pairs of one run, or of one shard of it, that are still missing.

    Raises:
        UserError: a mistake in the configuration, a run begun with another one, no pair at all, or more failures
            than ``failure_budget`` allows.
    """
    run = resolve_run(cfg, "amplify")
    dataset = open_dataset(cfg.dataset)
    styles = resolve_styles(cfg.style_set, known_styles(cfg.model))
    plan = make_plan(dataset.paths, [style.name for style in styles], cfg.style_assignment, cfg.seed)
    shard = plan.shard(cfg.shard.index, cfg.shard.count, cfg.num_pairs)
    settings = _settings(cfg, plan, styles, count_processes(cfg) if cfg.launch.name == "local" else cfg.shard.count)
    check_settings(run.folder, settings)
    if cfg.dry_run:
        _print_plan(cfg, run, dataset, plan, shard)
        return
    if cfg.launch.name == "local":
        launch_processes(cfg, run, shard.quota)
        return
    engine = open_engine(cfg, run.folder)
    store_or_check_settings(run.folder, settings)
    journal = Journal(run.folder, cfg.shard.index, cfg.shard.count)
    lineage = {"plan": plan.fingerprint, "faces": len(plan.faces), "places": len(plan)}
    with journal, open_tracker(cfg, run.folder, "amplify", run.name, lineage) as tracker:
        follower = RunLogger(tracker, run, engine.times, cfg.logger.grid_every * cfg.batch_size)
        began = time.monotonic()
        made = _make_missing(cfg, run, shard, journal, engine, follower)
        seconds = time.monotonic() - began
        journal.finish(cfg.num_pairs, round(made / seconds, 3) if made else None)
        if whole := _close(cfg, run, journal.rows, made, seconds, follower):
            _judge(cfg, run, whole, len(plan))


def _settings(cfg: DictConfig, plan: Plan, styles: Sequence[Style], shards: int) -> dict[str, Any]:
    """Everything that decides the bytes of the pairs; what is absent (workers, paths) does not.

    But for the threads of a CPU, which may change the last bit of a sum and so, rarely, a value by one level.
    """
    device = pick_device(cfg.device)
    return {
        "dataset": {"name": cfg.dataset.name, "align": cfg.dataset.align},
        "dataset.root": f"{len(plan.faces)} pictures",
        "style_set.styles": {s.name: {"regions": dict(s.regions), "strength": dict(s.strength)} for s in styles},
        "style_assignment": cfg.style_assignment,
        "seed": cfg.seed,
        "faces": cfg.faces,
        "strength": OmegaConf.to_container(cfg.strength),
        **pixel_settings(cfg.model, device),
        "parser": parser_settings(cfg.parser),
        "batch_size": cfg.batch_size,
        "device": device.type,
        "shard.count": shards,
        "the names of the pictures in dataset.root": plan.fingerprint[:12],
    }


def _make_missing(
    cfg: DictConfig, run: Run, shard: ShardPlan, journal: Journal, engine: Engine, follower: RunLogger
) -> int:
    """Make the pairs that the journal lacks; returns how many were made.

    Pairs that failed at an earlier start come first, and whatever took their place stays.
    """
    again, tried = _outstanding(run, shard, journal.rows)
    counts = Counter(row.status for row in journal.rows if row.place in tried)
    before = counts["ok"]
    follower.begin(counts)
    began = time.monotonic()

    def make(pairs: Sequence[PlannedPair], wanted: int | None) -> None:
        total = counts["ok"] - before + (len(pairs) if wanted is None else wanted)
        for rows in engine.make(pairs, wanted):
            journal.append(rows)
            tried.update(row.place for row in rows)
            new = Counter(row.status for row in rows)
            counts.update(new)
            if wanted is None:
                total -= new["rejected"] + new["failed"]
            made = counts["ok"] - before
            progress.update(task, completed=made, total=max(total, made))  # a picture may bring several faces
            follower.log(rows, counts, made / (time.monotonic() - began))

    with pairs_progress() as progress:
        task = progress.add_task("amplify", total=0)
        if again:
            stale = _names(journal, again)
            make(again, None)
            for name in stale - {row.name for row in journal.rows}:  # of faces that are not found any more
                remove_pair(run.folder, name)
        # Failed pairs leave the run short: the next round takes their replacements.
        while untried := [pair for pair in shard.pairs if pair.place not in tried]:
            wanted = None if cfg.num_pairs is None else shard.quota - counts["ok"]
            if wanted is not None and wanted <= 0:
                break
            make(untried, wanted)
    return counts["ok"] - before


def _names(journal: Journal, pairs: Sequence[PlannedPair]) -> set[str]:
    """The names under which planned pairs have been finished."""
    places = {pair.place for pair in pairs}
    return {row.name for row in journal.rows if row.name and row.place in places}


def _outstanding(run: Run, shard: ShardPlan, rows: Sequence[PairRow]) -> tuple[list[PlannedPair], set[int]]:
    """The pairs that another try may complete (one failed, or its pictures are gone), and the places that need none."""
    gone = {row.place for row in rows if row.name and not pair_exists(run.folder, row.name)}
    lacking = gone | {row.place for row in rows if row.status == "failed"}
    again = [pair for pair in shard.pairs if pair.place in lacking] if lacking else []
    return again, {row.place for row in rows} - lacking


def _close(
    cfg: DictConfig, run: Run, rows: list[PairRow], made: int, seconds: float, follower: RunLogger
) -> list[PairRow]:
    """Manifest, sample grid and summary. Of several shards the last one writes the manifest of all.

    Returns:
        the rows of all shards; none while one of them is not done.
    """
    whole: list[PairRow] = []
    samples = None
    try:
        merge(run.folder)
    except UserError:
        if cfg.shard.count == 1:
            raise
        print_line(
            f"The shard that finishes last writes the manifest; python -m dda.merge {run.folder} names those to come"
        )
    else:
        whole = rows if cfg.shard.count == 1 else read_rows(run.folder)
        if any(row.status == "ok" for row in whole):
            samples = samples_from_manifest(run.folder)
    follower.close(rows, made, seconds, samples)
    print_run_summary(whole or rows, made, seconds, run.folder, drawn=samples is not None)
    return whole


def _judge(cfg: DictConfig, run: Run, rows: Sequence[PairRow], places: int) -> None:
    """Refuse a whole run that made nothing, or of which too much failed; tell of one that made too few.

    Args:
        cfg: the configuration.
        run: the run.
        rows: of every pair tried.
        places: how many the plan has.

    Raises:
        UserError: saying so.
    """
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
    if cfg.num_pairs is None:
        return
    if counts["ok"] > cfg.num_pairs and cfg.faces != "all":  # where a picture may bring several
        print_line(f"num_pairs={cfg.num_pairs}: the run has {counts['ok']} already, and none is taken away", "yellow")
    if counts["ok"] < cfg.num_pairs:
        untried = places - len({row.place for row in rows})
        why = "a shard replaces pictures that cannot be used by its own ones, and one has no more"
        reason = why if untried else "the pictures give no more"
        print_line(f"num_pairs={cfg.num_pairs}: only {counts['ok']} could be made; {reason}", "yellow")


def _print_plan(cfg: DictConfig, run: Run, dataset: FaceDataset, plan: Plan, shard: ShardPlan) -> None:
    """What a run would do, from the plan and the journal alone."""
    if cfg.shard.count == 1:  # made by one process or by those of launch=local
        rows = read_rows(run.folder)
    else:
        rows = [*read_journal(journal_file(run.folder, cfg.shard.index, cfg.shard.count)).rows.values()]
    again, tried = _outstanding(run, shard, rows)
    done = sum(row.status == "ok" and row.place in tried for row in rows)
    left: list[PlannedPair] = [pair for pair in shard.pairs if pair.place not in tried]
    to_make = len(left) if cfg.num_pairs is None else min(max(shard.quota - done, len(again)), len(left))
    short = cfg.num_pairs is not None and cfg.num_pairs > len(plan)
    lines = [
        f"faces    {len(dataset)} pictures of dataset {dataset.name}",
        f"styles   {len(plan.styles)}: {', '.join(plan.styles)} ({plan.assignment})",
        f"pairs    {shard.quota} wanted of {len(plan)} that the plan holds{', fewer than num_pairs' if short else ''}",
        f"shard    {cfg.shard.index} of {cfg.shard.count}",
        f"done     {done} already in {run.folder}",
        f"to make  {to_make}",
        *(f"         {pair.place}: {pair.path}, {pair.style}" for pair in left[: min(to_make, 5)]),
    ]
    print_line("\n".join(lines))
