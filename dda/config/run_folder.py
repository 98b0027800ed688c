"""The folders of runs: how a new one is named, which one is the newest, what an evaluation measures."""

import itertools
import os
from functools import cache
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from dda.config.schema import AmplifyConfig, EvalConfig, TrainConfig
from dda.errors import UserError
from dda.options import FOLDER_NAME, check_limit
from dda.pairs.run_files import SWEEP_RECORD, Run


def resolve_run(cfg: AmplifyConfig | TrainConfig | EvalConfig, task: str) -> Run:
    """Return the run of this job: Hydra's where Hydra launched it, else `<paths.outputs>/<task>/<run_name>`.

    Raises:
        UserError: a `run_name` that is not a folder name, or `latest` where there is no run.
    """
    if HydraConfig.initialized():
        hydra = HydraConfig.get()
        folder = Path(hydra.runtime.output_dir)
        return Run(folder.parent.name if hydra.mode == RunMode.MULTIRUN else folder.name, folder)
    folder = Path(run_folder(cfg.paths.outputs, task, cfg.run_name))
    return Run(folder.name, folder)


def resolve_pairs(cfg: EvalConfig) -> Path:
    """Return the folder that an evaluation measures: that of `run`, or `pairs`.

    Raises:
        UserError: neither is given or both are, or there is no such run.
    """
    folder = _pairs_folder(cfg.paths.outputs, cfg.run, cfg.pairs)
    if not os.path.isdir(folder):
        raise UserError(f"run={cfg.run}: must be latest, or the folder of a run (outputs/amplify/NAME) or its NAME")
    return folder


def last_written(folder: Path) -> int:
    """Return when the newest file of a run was written, in ns since the epoch; 0 for a run that wrote nothing.

    Hydra's own files do not count: it writes them for refused starts and dry runs too.
    """
    files = [*folder.glob("[!.]*"), *folder.glob("[!.]*/[!.]*")]
    return max((f.stat().st_mtime_ns for f in files if f.is_file() and f.name != SWEEP_RECORD), default=0)


@cache
def new_run_name(time: str, outputs: str, task: str) -> str:
    """Name a new run by the time, and reserve the name by making its folder.

    Another process that starts a run in the same second gets another name, which ends in ``_2``. All jobs of a
    multirun get the same one.
    """
    for number in itertools.count(1):
        name = time if number == 1 else f"{time}_{number}"
        try:
            Path(outputs, task, name).mkdir(parents=True)
        except FileExistsError:
            if os.path.isdir(Path(outputs, task, name)):
                continue
        except OSError:
            pass
        return name  # where it cannot be made, Hydra tries once more and its error is described
    raise AssertionError("unreachable")


def run_folder(outputs: str, task: str, run_name: str) -> str:
    """Return `<outputs>/<task>/<run_name>`; `latest` is the run of the task that was last written to.

    Raises:
        UserError: a `run_name` that is not a folder name, or `latest` where there is no run.
    """
    runs = Path(outputs) / task
    if run_name == "latest":
        newest = _newest_run(runs)
        if newest is None:
            raise UserError(f"run_name=latest: there is no run in {runs} yet; leave run_name out to start one")
        return str(newest)
    if not FOLDER_NAME.holds(run_name):
        raise UserError(
            f"run_name={run_name}: must be {FOLDER_NAME.allowed}; the folder it lies in is paths.outputs={outputs}"
        )
    return str(runs / run_name)


def evaluation_name(outputs: str, run: str | None, pairs: str | None) -> str:
    """Name an evaluation after what it measures; of a job of a multirun, RUN_JOB.

    Raises:
        UserError: as `resolve_pairs`, or `run` is the folder of all runs.
    """
    folder = _pairs_folder(outputs, run, pairs).resolve()
    runs = Path(outputs, "amplify").resolve()
    if folder == runs:
        raise UserError(f"run={run}: is the folder of all runs; give one of those in it, or run=latest")
    return "_".join(folder.relative_to(runs).parts) if folder.is_relative_to(runs) else folder.name


def job_folder(number: int, style_set: str, shard_count: int) -> str:
    """Return a job's folder in a sweep. Shards of one plan share theirs, so that they have one manifest.

    Raises:
        OptionError: the style set's name is not a folder name.
    """
    check_limit("style_set.name", style_set, FOLDER_NAME)
    return style_set if shard_count > 1 else f"{number}_{style_set}"


def _newest_run(runs: Path) -> Path | None:
    written = {run: last_written(run) for run in runs.glob("[!.]*")}
    newest = max(written, key=lambda run: (written[run], run.name), default=None)
    return newest if newest is not None and written[newest] else None


def _pairs_folder(outputs: str, run: str | None, pairs: str | None) -> Path:
    if (run is None) == (pairs is None):
        raise UserError(
            f"run={run or 'null'} pairs={pairs or 'null'}: exactly one of them must be given; write "
            "run=NAME or run=latest for a run of run_amplify.py, "
            "pairs=DIR for any folder with source/ and target/"
        )
    if pairs is not None:
        return Path(pairs)
    runs = Path(outputs) / "amplify"
    if run == "latest":
        newest = _newest_run(runs)
        if newest is None:
            raise UserError(f"run=latest: there is no run in {runs} yet; make one with run_amplify.py")
        return newest
    folder, named = Path(str(run)), runs / str(run)
    return named if os.path.isdir(named) and not os.path.isdir(folder) else folder
