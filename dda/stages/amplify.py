"""The amplification stage: `run_amplify.py` from its configuration to a folder of pairs."""

import time
from collections import Counter
from collections.abc import Sequence

from dda.cli.arguments import shard_commands
from dda.config.run_folder import resolve_run
from dda.config.schema import AmplifyConfig
from dda.config.settings import amplify_settings
from dda.console import pairs_progress, print_line
from dda.engines.engine import Engine
from dda.engines.options import LocalLaunchOptions
from dda.engines.processes import count_processes, launch_processes
from dda.engines.worker import PairJob
from dda.errors import UserError, keys_of
from dda.merge import merge
from dda.models.painting import Strength
from dda.pairs.journal import Journal, PairRow, journal_file, read_journal
from dda.pairs.manifest import read_rows
from dda.pairs.plan import Plan, PlannedPair, ShardPlan, make_plan
from dda.pairs.run_files import Run
from dda.pairs.settings import check_settings, store_or_check_settings
from dda.pairs.writer import pair_exists, remove_pair
from dda.regions import REGIONS
from dda.report.run_summary import print_run_summary
from dda.report.samples import samples_from_manifest
from dda.styles import Style, resolve_styles
from dda.tracking.run_logger import RunLogger
from dda.tracking.tracker import open_tracker

MAX_SHOWN_PAIRS = 5
"""Pairs of the plan that a dry run prints."""


def main(cfg: AmplifyConfig) -> None:
    """Make the pairs of one run, or of one shard of it, that are still missing.

    Raises:
        UserError: an error in the configuration, a run with other settings, no pair at all, or more failures than
            ``failure_budget`` allows.
    """
    # 1. Plan, without loading a model
    run = resolve_run(cfg, "amplify")
    with keys_of("dataset"):
        paths = cfg.dataset.open().paths
    with keys_of("model"):
        checkpoint_styles = cfg.model.styles()
    with keys_of("style_set"):
        styles = resolve_styles(cfg.style_set.styles, checkpoint_styles)
    plan = make_plan(paths, [style.name for style in styles], cfg.style_assignment, cfg.seed)
    shard = plan.shard(cfg.shard.index, cfg.shard.count, cfg.num_pairs)
    # 2. Refuse to mix two kinds of pairs in one folder
    shard_count = cfg.shard.count
    if isinstance(cfg.launch, LocalLaunchOptions):
        shard_count = cfg.launch.processes or count_processes(cfg.device)
    settings = amplify_settings(cfg, plan, styles, shard_count)
    check_settings(run.folder, settings)
    if cfg.dry_run:
        _print_plan(cfg, run, plan, shard)
        return
    if isinstance(cfg.launch, LocalLaunchOptions):
        launch_processes(shard_commands(run.name, shard_count), run, shard.quota, cfg.device)
        return
    # 3. Load parser and model, then make the missing pairs
    engine = cfg.engine.open(pair_job(cfg, styles), run.folder)
    store_or_check_settings(run.folder, settings)
    journal = Journal(run.folder, cfg.shard.index, cfg.shard.count)
    lineage = {"plan": plan.fingerprint, "faces": len(plan.faces), "places": len(plan)}
    with journal, open_tracker(cfg, run.folder, "amplify", run.name, lineage) as tracker:
        logger = RunLogger(tracker, run, engine.times, cfg.logger.grid_every * cfg.batch_size)
        start = time.monotonic()
        made = _make_missing(cfg, run, shard, journal, engine, logger)
        seconds = time.monotonic() - start
        journal.finish(cfg.num_pairs, round(made / seconds, 3) if made else None)
        # 4. Manifest, figure and summary of the whole run
        if rows := _finish(cfg, run, journal.rows, made, seconds, logger):
            _check_result(cfg, run, rows, len(plan))


def pair_job(cfg: AmplifyConfig, styles: Sequence[Style]) -> PairJob:
    """Describe the run to the workers of an engine."""
    regions = {region: getattr(cfg.strength, region) for region in REGIONS}
    return PairJob(
        dataset=cfg.dataset,
        parser=cfg.parser,
        model=cfg.model,
        styles=styles,
        strength=Strength(cfg.strength.makeup, cfg.strength.detail, regions),
        faces=cfg.faces,
        batch_size=cfg.batch_size,
        seed=cfg.seed,
        device=cfg.device,
        workers=cfg.batch.workers,
        shard=cfg.shard.index,
    )


def _make_missing(
    cfg: AmplifyConfig, run: Run, shard: ShardPlan, journal: Journal, engine: Engine, logger: RunLogger
) -> int:
    """Make the pairs that the journal lacks; return how many were made.

    Pairs that failed at an earlier start come first; the pairs that took their places stay.
    """
    retries, tried = _find_retries(run, shard, journal.rows)
    counts = Counter(row.status for row in journal.rows if row.place in tried)
    before = counts["ok"]
    logger.begin(counts)
    start = time.monotonic()

    def make(pairs: Sequence[PlannedPair], num_pairs: int | None) -> None:
        total = counts["ok"] - before + (len(pairs) if num_pairs is None else num_pairs)
        for rows in engine.make(pairs, num_pairs):
            journal.append(rows)
            tried.update(row.place for row in rows)
            new = Counter(row.status for row in rows)
            counts.update(new)
            if num_pairs is None:
                total -= new["rejected"] + new["failed"]
            made = counts["ok"] - before
            progress.update(
                task, completed=made, total=max(total, made), visible=True
            )  # a picture may bring several faces
            logger.log(rows, counts, made / (time.monotonic() - start))

    with pairs_progress() as progress:
        task = progress.add_task("amplify", total=0, visible=False)  # until it is known how many there are
        if retries:
            names = _finished_names(journal, retries)
            make(retries, None)
            for name in names - {row.name for row in journal.rows}:  # of faces that are not found any more
                remove_pair(run.folder, name)
        # Failed pairs leave the run short: the next round makes their replacements.
        while untried := [pair for pair in shard.pairs if pair.place not in tried]:
            num_pairs = None if cfg.num_pairs is None else shard.quota - counts["ok"]
            if num_pairs is not None and num_pairs <= 0:
                break
            make(untried, num_pairs)
    return counts["ok"] - before


def _finished_names(journal: Journal, pairs: Sequence[PlannedPair]) -> set[str]:
    """Return the names under which planned pairs have been finished."""
    places = {pair.place for pair in pairs}
    return {row.name for row in journal.rows if row.name and row.place in places}


def _find_retries(run: Run, shard: ShardPlan, rows: Sequence[PairRow]) -> tuple[list[PlannedPair], set[int]]:
    """Return the pairs to try again (one failed, or its pictures are gone), and the places that need no other try."""
    gone = {row.place for row in rows if row.name and not pair_exists(run.folder, row.name)}
    incomplete = gone | {row.place for row in rows if row.status == "failed"}
    retries = [pair for pair in shard.pairs if pair.place in incomplete] if incomplete else []
    return retries, {row.place for row in rows} - incomplete


def _finish(
    cfg: AmplifyConfig, run: Run, rows: list[PairRow], made: int, seconds: float, logger: RunLogger
) -> list[PairRow]:
    """Write manifest and sample figure, print the summary. Of several shards the last one writes the manifest of all.

    Returns:
        the rows of all shards; none while one of them is not done.
    """
    all_rows: list[PairRow] = []
    samples = None
    try:
        merge(run.folder)
    except UserError:
        if cfg.shard.count == 1:
            raise
        print_line(f"The shard that finishes last writes the manifest; python -m dda.merge {run.folder} names the rest")
    else:
        all_rows = rows if cfg.shard.count == 1 else read_rows(run.folder)
        if any(row.status == "ok" for row in all_rows):
            samples = samples_from_manifest(run.folder)
    logger.close(rows, made, seconds, samples)
    print_run_summary(all_rows or rows, made, seconds, run.folder, drawn=samples is not None)
    return all_rows


def _check_result(cfg: AmplifyConfig, run: Run, rows: Sequence[PairRow], places: int) -> None:
    """Refuse a finished run without pairs or with too many failures; warn of one with too few pairs.

    Args:
        cfg: the configuration.
        run: the run.
        rows: of every pair tried.
        places: number of pairs in the plan.

    Raises:
        UserError: the run has no pair, or more failures than ``failure_budget`` allows.
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
        shard_reason = "a shard replaces pictures that cannot be used by its own ones, and one has no more"
        reason = shard_reason if places > len({row.place for row in rows}) else "the pictures give no more"
        print_line(f"num_pairs={cfg.num_pairs}: only {counts['ok']} could be made; {reason}", "yellow")


def _print_plan(cfg: AmplifyConfig, run: Run, plan: Plan, shard: ShardPlan) -> None:
    """Print what a run would do, from the plan and the journal alone."""
    if cfg.shard.count == 1:  # made by one process or by those of launch=local
        rows = read_rows(run.folder)
    else:
        rows = [*read_journal(journal_file(run.folder, cfg.shard.index, cfg.shard.count)).rows.values()]
    retries, tried = _find_retries(run, shard, rows)
    done = sum(row.status == "ok" and row.place in tried for row in rows)
    untried: list[PlannedPair] = [pair for pair in shard.pairs if pair.place not in tried]
    to_make = len(untried)
    if cfg.num_pairs is not None:
        to_make = min(max(shard.quota - done, len(retries)), len(untried))
    short = ", fewer than num_pairs" if cfg.num_pairs is not None and cfg.num_pairs > len(plan) else ""
    lines = [
        f"faces    {len(plan.faces)} pictures of dataset {cfg.dataset.name}",
        f"styles   {len(plan.styles)}: {', '.join(plan.styles)} ({plan.assignment})",
        f"pairs    {shard.quota} wanted of {len(plan)} that the plan holds{short}",
        f"shard    {cfg.shard.index} of {cfg.shard.count}",
        f"done     {done} already in {run.folder}",
        f"to make  {to_make}",
        *(f"         {pair.place}: {pair.path}, {pair.style}" for pair in untried[: min(to_make, MAX_SHOWN_PAIRS)]),
    ]
    print_line("\n".join(lines))
