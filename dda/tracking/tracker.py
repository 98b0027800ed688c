"""The tracker: what a job tells W&B, which may fail but never stops a run, nor holds it up.

W&B is spoken to by a thread of its own. A run opened without an account, or while W&B is out of reach, is recorded
in its own folder and can be sent later with `wandb sync`. Nothing is ever asked on the terminal.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import numpy as np
import wandb
from PIL import Image

from dda.tracking.artifacts import fingerprint
from dda.tracking.options import TrackedConfig
from dda.tracking.wandb_run import (
    check_answers,
    one_line,
    open_wandb_run,
    recorded_config,
    sync_command,
    wandb_environment,
)

_LOG = logging.getLogger(__name__)

# The quantity on the x axis of every chart of a job; it is W&B's own step too, so that a resumed run goes on with it.
STEP_METRICS = {"amplify": "pairs_done", "train": "updates_done", "eval": "pairs_measured"}

# Rows that a table is cut to: W&B shows no more with ease.
MAX_TABLE_ROWS = 256

# Files that an artifact refers to one by one. Beyond, its manifest alone stands for them: W&B lists each in memory.
MAX_REFERENCES = 100_000

Rows = Sequence[Sequence[Any]]


class Tracker:
    """Sends the metrics, pictures, tables and summary of one job to W&B, in the order given, from a thread of its own.

    No method waits for W&B, but `finish`. Pictures and rows may be given as functions, which that thread calls, and
    only where there is a run to log them to. The first error is logged as a warning, later ones at debug level; none
    is raised.

    Args:
        open_run: opens the W&B run, or returns None to track nothing; None does so from the start.
        step_metric: the x axis of the job's charts.
    """

    def __init__(self, open_run: Callable[[], wandb.Run | None] | None = None, step_metric: str = "pairs_done") -> None:
        self._step_metric = step_metric
        self._step = 0
        self._warned = False
        self._actions: SimpleQueue[Callable[[wandb.Run], object] | None] = SimpleQueue()
        self._thread: Thread | None = None
        if open_run is not None:
            self._thread = Thread(target=self._work, args=(open_run,), name="tracker", daemon=True)
            self._thread.start()

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Log numbers at `step`: pairs done by an amplification, updates by a training, pairs measured."""
        self._step = step
        self._log(dict(metrics), step)

    def log_image(self, key: str, image: np.ndarray | Callable[[], np.ndarray], caption: str | None = None) -> None:
        """Log a uint8 (H, W, 3) picture at the step of the last `log`."""
        step = self._step

        def log(run: wandb.Run) -> None:
            picture = image() if callable(image) else image
            self._log_now(run, {key: wandb.Image(Image.fromarray(picture), caption=caption)}, step)

        self._do(log)

    def log_table(self, key: str, columns: Sequence[str], rows: Rows | Callable[[], Rows]) -> None:
        """Log the first `MAX_TABLE_ROWS` of `rows` as a table; a cell may be a uint8 (H, W, 3) picture (as JPEG)."""
        step = self._step

        def cell(value: Any) -> Any:
            return wandb.Image(Image.fromarray(value), file_type="jpg") if isinstance(value, np.ndarray) else value

        def log(run: wandb.Run) -> None:
            shown = (rows() if callable(rows) else rows)[:MAX_TABLE_ROWS]
            table = wandb.Table(columns=list(columns), data=[[cell(value) for value in row] for row in shown])
            check_answers(run)
            self._log_now(run, {key: table}, step)

        self._do(log)

    def log_dataset(self, name: str, manifest: Path, pictures: Path, facts: Mapping[str, Any]) -> None:
        """Record a folder of pictures as an artifact, a version for each content of its manifest.

        The manifest is uploaded; the pictures stay where they are and are referred to.

        Args:
            name: of `dataset_name`.
            manifest: the table of the pictures.
            pictures: the folder.
            facts: what else the artifact's metadata is to say.
        """

        def log(run: wandb.Run) -> None:
            found = fingerprint(manifest)
            metadata = {**facts, "fingerprint": found, "folder": str(pictures.absolute())}
            artifact = wandb.Artifact(name, "dataset", metadata=metadata)
            artifact.add_file(str(manifest))
            if sum(1 for _ in pictures.glob("*/*")) <= MAX_REFERENCES:
                artifact.add_reference(pictures.absolute().as_uri(), name=pictures.name, checksum=False)
            check_answers(run)
            run.log_artifact(artifact, aliases=["latest", found[:12]])

        self._do(log)

    def use_dataset(self, version: str) -> None:
        """Name an artifact by its `dataset_version` as what this job works on; offline that cannot be recorded."""

        def use(run: wandb.Run) -> None:
            if not run.offline:
                check_answers(run)
                run.use_artifact(version)

        self._do(use)

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set values of the job as a whole, such as counts by status."""
        self._do(lambda run: run.summary.update(dict(values)))

    def finish(self, exit_code: int) -> None:
        """End the run and wait for it; it reads as failed unless `exit_code` is 0. `open_tracker` calls this."""

        def close(run: wandb.Run) -> None:
            try:
                run.finish(exit_code=exit_code)
            except TimeoutError:
                _LOG.warning("W&B has not received the whole run; to send the rest: %s", sync_command(run))

        self._do(close)
        if self._thread is not None:
            self._actions.put(None)
            self._thread.join()

    def _log(self, values: Mapping[str, Any], step: int) -> None:
        self._do(lambda run: self._log_now(run, values, step))

    def _log_now(self, run: wandb.Run, values: Mapping[str, Any], step: int) -> None:
        # A job that goes on begins behind W&B's own step, which drops what is logged there.
        run.log({**values, self._step_metric: step}, step=max(step, run.step))

    def _do(self, action: Callable[[wandb.Run], object]) -> None:
        if self._thread is not None:
            self._actions.put(action)

    def _work(self, open_run: Callable[[], wandb.Run | None]) -> None:
        run = open_run()
        if run is not None:
            self._try(lambda run: run.define_metric(self._step_metric), run)
            self._try(lambda run: run.define_metric("*", step_metric=self._step_metric), run)
        while (action := self._actions.get()) is not None:
            if run is not None:
                self._try(action, run)

    def _try(self, action: Callable[[wandb.Run], object], run: wandb.Run) -> None:
        try:
            action(run)
        except Exception as error:  # whatever goes wrong in W&B, the pairs come first
            level = logging.DEBUG if self._warned else logging.WARNING
            _LOG.log(level, "W&B: %s. The run goes on; some of its record may be missing.", one_line(error))
            self._warned = True


@contextmanager
def open_tracker(
    cfg: TrackedConfig, run_dir: Path, job_type: str, run_name: str, lineage: Mapping[str, Any] | None = None
) -> Iterator[Tracker]:
    """Track one job in `run_dir/wandb` for the length of a `with` block.

    An exception in the block marks the run as failed. Where an amplification or a training goes on, so does its W&B
    run, whose id is kept in the folder.

    Args:
        cfg: the whole configuration; recorded with the run, together with Hydra's overrides and choices and the
            commit of the project.
        run_dir: the job's folder; its name is the name of the W&B run.
        job_type: a key of `STEP_METRICS`.
        run_name: the W&B group, shared by the jobs of a multirun, the shards of a plan and what measures them.
        lineage: what the job was given to work on, recorded with the configuration as `lineage`.

    Raises:
        omegaconf.MissingMandatoryValue: a value of `cfg` is `???`.
    """
    with wandb_environment(run_dir / "wandb" / "data"):
        config = recorded_config(cfg) | ({"lineage": dict(lineage)} if lineage else {})
        off = cfg.logger.name == "none" or cfg.logger.mode == "disabled"
        tracker = Tracker(
            None if off else lambda: open_wandb_run(cfg, run_dir, job_type, run_name, config), STEP_METRICS[job_type]
        )
        try:
            yield tracker
        except BaseException:
            tracker.finish(exit_code=1)
            raise
        tracker.finish(exit_code=0)
