"""A W&B run: how it is opened, what is recorded of the job with it, and how W&B's own waiting is kept short."""

import logging
import os
import re
import secrets
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import requests  # W&B's own, with its proxies and certificates
import wandb
from hydra.core.hydra_config import HydraConfig
from pydantic import ValidationError  # W&B's own

from dda.errors import first_line
from dda.tracking.options import TrackedConfig

_LOG = logging.getLogger(__name__)

# An evaluation is measured anew each time; the others go on where they were, and so do their W&B runs.
_RESUMED = ("amplify", "train")

_RUN_FOLDER = re.compile(r"(?:offline-)?run-(\d{8}_\d{6})-(\w+)(?:-\d+)?")
_CHECKOUT = Path(__file__).parents[2]

# How long W&B may take to open a run, beside the work, before it is recorded offline, and how long an outage may hold
# up the end. W&B's own limits are 90 seconds and none. What is not sent in time stays in the run folder for
# `wandb sync`; WANDB_FINISH_TIMEOUT=SECONDS allows more.
INIT_TIMEOUT = 10.0
FINISH_TIMEOUT = 8.0

# How long W&B may take to say anything at all before something is sent that W&B's client would wait for.
ANSWER_TIMEOUT = 2.0


def open_wandb_run(
    cfg: TrackedConfig, run_dir: Path, job_type: str, run_name: str, config: Mapping[str, Any]
) -> wandb.Run | None:
    """Open the W&B run: online where possible, else offline, else (with a warning) not at all.

    Args:
        cfg, run_dir, job_type, run_name: as `dda.tracking.tracker.open_tracker` takes them.
        config: what is recorded with the run.
    """
    shard = getattr(cfg, "shard", None)
    part = "" if shard is None or shard.count == 1 else f"-{shard.index}of{shard.count}"

    def init(mode: Literal["online", "offline"]) -> wandb.Run:
        run = wandb.init(
            project=cfg.logger.project,
            entity=cfg.logger.entity,
            dir=run_dir,
            name=f"{run_dir.name}{part}",
            id=_read_run_id(run_dir / "wandb" / f"{job_type}{part}.id") if job_type in _RESUMED else None,
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
        _LOG.info("W&B: %s", f"recorded offline; to send it: {sync_command(run)}" if run.offline else run.url)
        return run

    try:
        mode = _resolve_mode(cfg.logger.mode)
        if mode == "disabled":
            return None
        if mode == "online":
            try:
                return init("online")
            except Exception as error:  # an outage, a wrong key, no right to write to the project
                _LOG.warning("W&B cannot be used online: %s. The run is recorded offline.", one_line(error))
                wandb.teardown()  # its process still holds the run's id
        return init("offline")
    except Exception as error:
        _LOG.warning("W&B cannot be used: %s. The run goes on without it.", one_line(error))
        return None


def _read_run_id(file: Path) -> str:
    """Return the id kept in a file, or a new one, which is kept there."""
    if not file.exists() or not file.read_text():  # empty where the disk was full
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(secrets.token_hex(4))
    return file.read_text()


def recorded_runs(folder: Path) -> list[str]:
    """Return the ids of the W&B runs in a job's folder, oldest first; a resumed one is there once."""
    found = [match for path in (folder / "wandb").glob("*run-*") if (match := _RUN_FOLDER.fullmatch(path.name))]
    return list(dict.fromkeys(match[2] for match in sorted(found, key=lambda match: match[1])))


def check_answers(run: wandb.Run) -> None:
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


def _resolve_mode(wanted: str) -> str:
    """Return the mode to open a run in. `auto` is what WANDB_MODE or `wandb offline` say, and online by default; but
    online needs an account, and without one it is offline."""
    settings = wandb.setup(wandb.Settings(silent=True)).settings
    mode = settings.mode if wanted == "auto" else wanted
    if mode != "online":
        return mode
    try:
        if wandb.login(prompt=False, verify=False):
            return "online"
    except Exception as error:  # a key that is none
        _LOG.warning("W&B cannot be used online: %s. The run is recorded offline.", one_line(error))
        return "offline"
    if wanted == "online":
        _LOG.warning("logger.mode=online, but W&B has no account here (wandb login): recorded offline.")
    return "offline"


def recorded_config(cfg: TrackedConfig) -> dict[str, Any]:
    """`cfg` with every reference resolved, how it was composed where Hydra did it, and the project's commit.

    Raises:
        omegaconf.MissingMandatoryValue: a value of `cfg` is `???`.
    """
    composed = {}
    if HydraConfig.initialized():
        hydra = HydraConfig.get()
        choices = {group: choice for group, choice in hydra.runtime.choices.items() if "hydra/" not in group}
        composed["hydra"] = {"overrides": list(hydra.overrides.task), "choices": choices}
    return asdict(cfg) | composed | _describe_commit()


def _describe_commit() -> dict[str, dict[str, Any]]:
    """Return the commit of the project, where it is run from a checkout, and whether files differ from it."""
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


def sync_command(run: wandb.Run) -> str:
    """Return the command that sends the record of a run."""
    options = "" if run.offline else "--include-online "
    return f"wandb sync {options}{shlex.quote(str(Path(run.dir).parent))}"


@contextmanager
def wandb_environment(staging: Path) -> Iterator[None]:
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


def one_line(error: Exception) -> str:
    """Return what an error of W&B's says, in one line."""
    if isinstance(error, ValidationError):  # of W&B's settings, as by WANDB_MODE=bogus
        return "; ".join(f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors())
    return first_line(error).rstrip(".")
