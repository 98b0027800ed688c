"""The folders of runs: where one lies, which one is the newest, what an evaluation measures."""

from dataclasses import dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from dda.config.limits import FOLDER_NAME, refuse
from dda.errors import UserError

STATE_NAME = "state.pt"
"""In the folder of a training: what it goes on from."""

SWEEP_RECORD = "multirun.yaml"
"""In the folder of a multirun: Hydra's record of it."""


@dataclass(frozen=True)
class Run:
    """Where a job writes, and the name of the run it belongs to (`latest` resolved)."""

    name: str
    folder: Path


def resolve_run(cfg: DictConfig, task: str) -> Run:
    """The run of this job: Hydra's where Hydra started it, else `<paths.outputs>/<task>/<run_name>`.

    Raises:
        UserError: a `run_name` that is no folder name, or `latest` where there is no run.
    """
    if HydraConfig.initialized():
        hydra = HydraConfig.get()
        folder = Path(hydra.runtime.output_dir)
        return Run(folder.parent.name if hydra.mode == RunMode.MULTIRUN else folder.name, folder)
    folder = Path(run_folder(cfg.paths.outputs, task, cfg.run_name))
    return Run(folder.name, folder)


def resolve_pairs(cfg: DictConfig) -> Path:
    """The folder that an evaluation measures: `run` (`latest` resolved), or `pairs`.

    Raises:
        UserError: neither is given or both are, or `latest` where there is no run.
    """
    return _pairs_folder(cfg.paths.outputs, cfg.run, cfg.pairs)


def last_written(folder: Path) -> int:
    """When the newest file of a run was written, in ns since the epoch; 0 for a run that wrote nothing.

    Hydra's own files do not count: it writes them for refused starts and dry runs too.
    """
    files = [*folder.glob("[!.]*"), *folder.glob("[!.]*/[!.]*")]
    return max((f.stat().st_mtime_ns for f in files if f.is_file() and f.name != SWEEP_RECORD), default=0)


def _newest_run(runs: Path) -> Path | None:
    written = {run: last_written(run) for run in runs.glob("[!.]*")}
    newest = max(written, key=lambda run: (written[run], run.name), default=None)
    return newest if newest is not None and written[newest] else None


def run_folder(outputs: str, task: str, run_name: str) -> str:
    """`<outputs>/<task>/<run_name>`; `latest` is the run of the task that was last written to.

    Raises:
        UserError: a `run_name` that is no folder name, or `latest` where there is no run.
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


def _pairs_folder(outputs: str, run: str | None, pairs: str | None) -> Path:
    if (run is None) == (pairs is None):
        raise UserError(
            f"run={run or 'null'} pairs={pairs or 'null'}: exactly one of them must be given; write "
            "run=outputs/amplify/NAME or run=latest for a run of run_amplify.py, "
            "pairs=DIR for any folder with source/ and target/"
        )
    if run == "latest":
        runs = Path(outputs) / "amplify"
        newest = _newest_run(runs)
        if newest is None:
            raise UserError(f"run=latest: there is no run in {runs} yet; make one with run_amplify.py")
        return newest
    return Path(str(run or pairs))


def evaluation_name(outputs: str, run: str | None, pairs: str | None) -> str:
    """What an evaluation is called: after what it measures; of a job of a multirun, RUN_JOB.

    Raises:
        UserError: as `resolve_pairs`, or `run` is the folder of all runs.
    """
    folder = _pairs_folder(outputs, run, pairs).resolve()
    runs = Path(outputs, "amplify").resolve()
    if folder == runs:
        raise UserError(f"run={run}: is the folder of all runs; give one of those in it, or run=latest")
    return "_".join(folder.relative_to(runs).parts) if folder.is_relative_to(runs) else folder.name


def job_folder(number: int, style_set: str, shard_count: int) -> str:
    """A job's folder in a sweep. Shards of one plan share theirs, so that one manifest comes of them.

    Raises:
        UserError: the style set's name is no folder name.
    """
    refuse("style_set.name", style_set, FOLDER_NAME)
    return style_set if shard_count > 1 else f"{number}_{style_set}"
