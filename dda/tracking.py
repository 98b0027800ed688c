"""Tracking of runs with Weights & Biases (W&B), which may fail but never stops a run.

A run opened without an account, or while W&B is out of reach, is recorded in its own folder and can be sent
later with `wandb sync`. Nothing is ever asked on the terminal.
"""

import logging
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import wandb
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from dda.mistakes import first_line

_LOG = logging.getLogger(__name__)

# The quantity on the x axis of every chart of a job.
STEP_METRICS = {"amplify": "pairs_done", "train": "updates_done", "eval": "pairs_measured"}

# Rows that a table is cut to: W&B shows no more with ease.
MAX_TABLE_ROWS = 256

_RUN_FOLDER = re.compile(r"(?:offline-)?run-(\d{8}_\d{6})-(\w+)")

# How long an outage may hold up the start and the end of a run. W&B's own limits are 90 seconds and none.
# What is not sent in time stays in the run folder for `wandb sync`; WANDB_FINISH_TIMEOUT=SECONDS allows more.
INIT_TIMEOUT = 10.0
FINISH_TIMEOUT = 8.0


class Tracker:
    """Sends the metrics, pictures, tables and summary of one job to W&B, or nowhere when `run` is None.

    The first error of W&B's is logged as a warning, later ones at debug level; none is raised.
    """

    def __init__(self, run: wandb.Run | None = None, step_metric: str = "pairs_done") -> None:
        self._run = run
        self._step_metric = step_metric
        self._step = 0
        self._warned = False
        self._send(lambda run: run.define_metric(step_metric))
        self._send(lambda run: run.define_metric("*", step_metric=step_metric))

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Log numbers at `step`: pairs done by an amplification, updates by a training, pairs measured."""
        self._step = step
        self._send(lambda run: run.log({**metrics, self._step_metric: step}))

    def log_image(self, key: str, image: np.ndarray, caption: str | None = None) -> None:
        """Log a uint8 (H, W, 3) picture at the step of the last `log`."""
        self._send(
            lambda run: run.log(
                {key: wandb.Image(Image.fromarray(image), caption=caption), self._step_metric: self._step}
            )
        )

    def log_table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Log the first `MAX_TABLE_ROWS` of `rows` as a table; a cell may be a uint8 (H, W, 3) picture."""

        def cell(value: Any) -> Any:
            return wandb.Image(Image.fromarray(value)) if isinstance(value, np.ndarray) else value

        def log(run: wandb.Run) -> None:
            data = [[cell(value) for value in row] for row in rows[:MAX_TABLE_ROWS]]
            run.log({key: wandb.Table(columns=list(columns), data=data), self._step_metric: self._step})

        self._send(log)

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set values of the job as a whole, such as counts by status."""
        self._send(lambda run: run.summary.update(dict(values)))

    def finish(self, exit_code: int) -> None:
        """End the run; it reads as failed unless `exit_code` is 0. `open_tracker` calls this."""

        def close(run: wandb.Run) -> None:
            try:
                run.finish(exit_code=exit_code)
            except TimeoutError:
                _LOG.warning("W&B has not received the whole run; to send the rest: %s", _sync_command(run))

        self._send(close)

    def _send(self, action: Callable[[wandb.Run], object]) -> None:
        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:  # whatever goes wrong in W&B, the pairs come first
            level = logging.DEBUG if self._warned else logging.WARNING
            _LOG.log(level, "W&B: %s. The run goes on; some of its record may be missing.", _one_line(error))
            self._warned = True


@contextmanager
def open_tracker(
    cfg: DictConfig, run_dir: Path, job_type: str, run_name: str, lineage: Mapping[str, Any] | None = None
) -> Iterator[Tracker]:
    """Track one job in `run_dir/wandb` for the length of a `with` block.

    An exception in the block marks the run as failed.

    Args:
        cfg: the whole configuration; recorded with the run, together with Hydra's overrides and choices.
        run_dir: the job's folder; its name is the name of the W&B run.
        job_type: a key of `STEP_METRICS`.
        run_name: the W&B group, shared by the jobs of a multirun, the shards of a plan and what measures them.
        lineage: what the job was given to work on, recorded with the configuration as `lineage`.

    Raises:
        omegaconf.MissingMandatoryValue: a value of `cfg` is `???`.
    """
    with _staged_in(run_dir / "wandb" / "data"):
        config = _config(cfg) | ({"lineage": dict(lineage)} if lineage else {})
        tracker = Tracker(_start(cfg, run_dir, job_type, run_name, config), STEP_METRICS[job_type])
        try:
            yield tracker
        except BaseException:
            tracker.finish(exit_code=1)
            raise
        tracker.finish(exit_code=0)


def recorded_runs(folder: Path) -> list[str]:
    """Ids of the W&B runs that were recorded in a job's folder, oldest first."""
    found = [match for path in (folder / "wandb").glob("*run-*") if (match := _RUN_FOLDER.fullmatch(path.name))]
    return [match[2] for match in sorted(found, key=lambda match: match[1])]


def _start(cfg: DictConfig, run_dir: Path, job_type: str, run_name: str, config: Mapping[str, Any]) -> wandb.Run | None:
    """Open the W&B run: online where possible, else offline, else (with a warning) not at all."""
    if cfg.logger.name == "none" or cfg.logger.mode == "disabled":
        return None

    def init(mode: Literal["online", "offline"]) -> wandb.Run:
        run = wandb.init(
            project=cfg.logger.project,
            entity=cfg.logger.entity,
            dir=run_dir,
            name=run_dir.name,
            group=run_name,
            job_type=job_type,
            tags=list(cfg.tags),
            config=dict(config),
            mode=mode,
            settings=wandb.Settings(
                silent=True,
                console="off",  # progress bars are no log
                init_timeout=INIT_TIMEOUT,
                finish_timeout=float(os.environ.get("WANDB_FINISH_TIMEOUT", FINISH_TIMEOUT)),
                finish_timeout_raises=True,
            ),
        )
        _LOG.info("W&B: %s", run.url or f"recorded offline; to send it: {_sync_command(run)}")
        return run

    try:
        mode = _mode(cfg.logger.mode)
        if mode == "disabled":
            return None
        if mode == "online":
            try:
                return init("online")
            except Exception as error:  # an outage, a wrong key, no right to write to the project
                _LOG.warning("W&B cannot be used online: %s. The run is recorded offline.", _one_line(error))
        return init("offline")
    except Exception as error:
        _LOG.warning("W&B cannot be used: %s. The run goes on without it.", _one_line(error))
        return None


def _mode(wanted: str) -> str:
    """The mode to open a run in. `auto` is what WANDB_MODE or `wandb offline` say, and online by default; but
    online needs an account, and without one it is offline."""
    settings = wandb.setup(wandb.Settings(silent=True)).settings
    mode = settings.mode if wanted == "auto" else wanted
    if mode == "online" and not wandb.login(prompt=False, verify=False):
        if wanted == "online":
            _LOG.warning("logger.mode=online, but W&B has no account here (wandb login): recorded offline.")
        return "offline"
    return mode


def _config(cfg: DictConfig) -> dict[str, Any]:
    """`cfg` with every reference resolved, and how it was composed where Hydra did it."""
    config = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(config, dict)
    composed = {}
    if HydraConfig.initialized():
        hydra = HydraConfig.get()
        choices = {group: choice for group, choice in hydra.runtime.choices.items() if "hydra/" not in group}
        composed["hydra"] = {"overrides": list(hydra.overrides.task), "choices": choices}
    return {str(key): value for key, value in config.items()} | composed


def _sync_command(run: wandb.Run) -> str:
    return f"wandb sync {shlex.quote(str(Path(run.dir).parent))}"


@contextmanager
def _staged_in(folder: Path) -> Iterator[None]:
    """Let W&B stage the files of tables in `folder`, not in the user's home, unless WANDB_DATA_DIR is set."""
    if "WANDB_DATA_DIR" in os.environ:
        yield
        return
    os.environ["WANDB_DATA_DIR"] = str(folder.absolute())
    try:
        yield
    finally:
        del os.environ["WANDB_DATA_DIR"]


def _one_line(error: Exception) -> str:
    return first_line(error).rstrip(".")
