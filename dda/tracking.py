"""Tracking of runs with Weights & Biases (W&B), which may fail but never stops a run, nor holds it up.

W&B is spoken to by a thread of its own. A run opened without an account, or while W&B is out of reach, is recorded
in its own folder and can be sent later with `wandb sync`. Nothing is ever asked on the terminal.
"""

import hashlib
import logging
import os
import re
import secrets
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any, Literal

import numpy as np
import requests  # W&B's own, with its proxies and certificates
import wandb
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from pydantic import ValidationError  # W&B's own

from dda.mistakes import first_line

_LOG = logging.getLogger(__name__)

# The quantity on the x axis of every chart of a job; it is W&B's own step too, so that a resumed run goes on with it.
STEP_METRICS = {"amplify": "pairs_done", "train": "updates_done", "eval": "pairs_measured"}

# Rows that a table is cut to: W&B shows no more with ease.
MAX_TABLE_ROWS = 256

# Files that an artifact refers to one by one. Beyond, its manifest alone stands for them: W&B lists each in memory.
MAX_REFERENCES = 100_000

# An evaluation is measured anew each time; the others go on where they were, and so do their W&B runs.
_RESUMED = ("amplify", "train")

_RUN_FOLDER = re.compile(r"(?:offline-)?run-(\d{8}_\d{6})-(\w+)(?:-\d+)?")
_CHECKOUT = Path(__file__).parents[1]

# How long W&B may take to open a run, beside the work, before it is recorded offline, and how long an outage may hold
# up the end. W&B's own limits are 90 seconds and none. What is not sent in time stays in the run folder for
# `wandb sync`; WANDB_FINISH_TIMEOUT=SECONDS allows more.
INIT_TIMEOUT = 10.0
FINISH_TIMEOUT = 8.0

# How long W&B may take to say anything at all before something is sent that W&B's client would wait for.
ANSWER_TIMEOUT = 2.0

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
            _check_answers(run)
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
            found = _fingerprint(manifest)
            metadata = {**facts, "fingerprint": found, "folder": str(pictures.absolute())}
            artifact = wandb.Artifact(name, "dataset", metadata=metadata)
            artifact.add_file(str(manifest))
            if sum(1 for _ in pictures.glob("*/*")) <= MAX_REFERENCES:
                artifact.add_reference(pictures.absolute().as_uri(), name=pictures.name, checksum=False)
            _check_answers(run)
            run.log_artifact(artifact, aliases=["latest", found[:12]])

        self._do(log)

    def use_dataset(self, version: str) -> None:
        """Name an artifact by its `dataset_version` as what this job works on; offline that cannot be recorded."""

        def use(run: wandb.Run) -> None:
            if not run.offline:
                _check_answers(run)
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
                _LOG.warning("W&B has not received the whole run; to send the rest: %s", _sync_command(run))

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
            _LOG.log(level, "W&B: %s. The run goes on; some of its record may be missing.", _one_line(error))
            self._warned = True


@contextmanager
def open_tracker(
    cfg: DictConfig, run_dir: Path, job_type: str, run_name: str, lineage: Mapping[str, Any] | None = None
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
    with _environment(run_dir / "wandb" / "data"):
        config = _config(cfg) | ({"lineage": dict(lineage)} if lineage else {})
        off = cfg.logger.name == "none" or cfg.logger.mode == "disabled"
        tracker = Tracker(
            None if off else lambda: _start(cfg, run_dir, job_type, run_name, config), STEP_METRICS[job_type]
        )
        try:
            yield tracker
        except BaseException:
            tracker.finish(exit_code=1)
            raise
        tracker.finish(exit_code=0)


def dataset_name(run_name: str, folder: Path) -> str:
    """Name of the artifact of a run's pairs, `pairs-RUN`, and of a job of a multirun, `pairs-RUN-JOB`.

    W&B takes 128 of a few letters: what it does not take is replaced, and a hash tells such names apart.

    Args:
        run_name: the W&B group.
        folder: the job's own folder.
    """
    name = f"pairs-{run_name}" if folder.name == run_name else f"pairs-{run_name}-{folder.name}"
    allowed = re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:128]
    return name if name == allowed else f"{allowed[:119]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def dataset_version(name: str, manifest: Path) -> str:
    """What the version of a `dataset_name` that has this manifest is called."""
    return f"{name}:{_fingerprint(manifest)[:12]}"


def _fingerprint(manifest: Path) -> str:
    """64 hex digits of a manifest's content."""
    return hashlib.sha256(manifest.read_bytes()).hexdigest()


def recorded_runs(folder: Path) -> list[str]:
    """Ids of the W&B runs that were recorded in a job's folder, oldest first; one that was resumed is there once."""
    found = [match for path in (folder / "wandb").glob("*run-*") if (match := _RUN_FOLDER.fullmatch(path.name))]
    return list(dict.fromkeys(match[2] for match in sorted(found, key=lambda match: match[1])))


def _start(cfg: DictConfig, run_dir: Path, job_type: str, run_name: str, config: Mapping[str, Any]) -> wandb.Run | None:
    """Open the W&B run: online where possible, else offline, else (with a warning) not at all."""
    shards = OmegaConf.select(cfg, "shard.count", default=1)
    part = "" if shards == 1 else f"-{cfg.shard.index}of{shards}"

    def init(mode: Literal["online", "offline"]) -> wandb.Run:
        run = wandb.init(
            project=cfg.logger.project,
            entity=cfg.logger.entity,
            dir=run_dir,
            name=f"{run_dir.name}{part}",
            id=_run_id(run_dir / "wandb" / f"{job_type}{part}.id") if job_type in _RESUMED else None,
            resume="allow",
            group=run_name,
            job_type=job_type,
            tags=list(cfg.tags),
            config=dict(config),
            mode=mode,
            settings=wandb.Settings(
                silent=True,
                console="off",  # progress bars are no log
                disable_git=True,  # it would take the folder of the user's that the command was typed in
                init_timeout=INIT_TIMEOUT,
                finish_timeout=float(os.environ.get("WANDB_FINISH_TIMEOUT", FINISH_TIMEOUT)),
                finish_timeout_raises=True,
            ),
        )
        _LOG.info("W&B: %s", f"recorded offline; to send it: {_sync_command(run)}" if run.offline else run.url)
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
                wandb.teardown()  # its process still holds the run's id
        return init("offline")
    except Exception as error:
        _LOG.warning("W&B cannot be used: %s. The run goes on without it.", _one_line(error))
        return None


def _run_id(file: Path) -> str:
    """The id kept in a file, or a new one, which is kept there."""
    if not file.exists() or not file.read_text():  # empty where the disk was full
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(secrets.token_hex(4))
    return file.read_text()


def _check_answers(run: wandb.Run) -> None:
    """Raise unless the run is offline or its server answers: for tables and artifacts W&B's client waits for it, and
    where it is gone, that takes 40 seconds.

    Raises:
        ConnectionError: it does not.
    """
    if run.offline:
        return
    server = run.settings.base_url
    try:
        status = requests.get(server, timeout=ANSWER_TIMEOUT).status_code
    except requests.RequestException as error:
        raise ConnectionError(f"{server} does not answer") from error
    if status >= 500:
        raise ConnectionError(f"{server} answers with code {status}")


def _mode(wanted: str) -> str:
    """The mode to open a run in. `auto` is what WANDB_MODE or `wandb offline` say, and online by default; but
    online needs an account, and without one it is offline."""
    settings = wandb.setup(wandb.Settings(silent=True)).settings
    mode = settings.mode if wanted == "auto" else wanted
    if mode != "online":
        return mode
    try:
        if wandb.login(prompt=False, verify=False):
            return "online"
    except Exception as error:  # a key that is none
        _LOG.warning("W&B cannot be used online: %s. The run is recorded offline.", _one_line(error))
        return "offline"
    if wanted == "online":
        _LOG.warning("logger.mode=online, but W&B has no account here (wandb login): recorded offline.")
    return "offline"


def _config(cfg: DictConfig) -> dict[str, Any]:
    """`cfg` with every reference resolved, and how it was composed where Hydra did it."""
    config = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(config, dict)
    composed = {}
    if HydraConfig.initialized():
        hydra = HydraConfig.get()
        choices = {group: choice for group, choice in hydra.runtime.choices.items() if "hydra/" not in group}
        composed["hydra"] = {"overrides": list(hydra.overrides.task), "choices": choices}
    return {str(key): value for key, value in config.items()} | composed | _commit()


def _commit() -> dict[str, dict[str, Any]]:
    """The commit of the project, where it is run from a checkout, and whether files differ from it."""
    if not (_CHECKOUT / ".git").exists():
        return {}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(_CHECKOUT), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    try:
        return {"git": {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain", "-uno"))}}
    except (OSError, subprocess.CalledProcessError) as error:  # no git here, or it does not trust the folder's owner
        _LOG.debug("The commit is not recorded: %s", error)
        return {}


def _sync_command(run: wandb.Run) -> str:
    options = "" if run.offline else "--include-online "
    return f"wandb sync {options}{shlex.quote(str(Path(run.dir).parent))}"


@contextmanager
def _environment(staging: Path) -> Iterator[None]:
    """What W&B reads from the environment alone, where the user has not set it.

    It stages the files of tables in `staging`, not in the user's home, and does not report its own errors to its
    makers: a server that does not answer would hold up the process at its very end.
    """
    wanted = {"WANDB_DATA_DIR": str(staging.absolute()), "WANDB_ERROR_REPORTING": "false"}
    ours = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]


def _one_line(error: Exception) -> str:
    if isinstance(error, ValidationError):  # of W&B's settings, as by WANDB_MODE=bogus
        return "; ".join(f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())
    return first_line(error).rstrip(".")
