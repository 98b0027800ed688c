"""What W&B recorded of a run, read back by W&B itself."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def find_log(run_dir: Path, pattern: str = "offline-run-*") -> Path:
    (log,) = run_dir.glob(f"wandb/{pattern}/*.wandb")
    return log


def inspect(log: Path, *options: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *options, str(log)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def read_summary(log: Path) -> dict[str, Any]:
    return json.loads(inspect(log, "--summary"))


def read_records(log: Path, kind: str) -> list[dict[str, Any]]:
    """The records of one kind, in order."""
    records = [json.loads(line) for line in inspect(log).splitlines()]
    return [record[kind] for record in records if kind in record]


def read_steps(log: Path) -> list[int]:
    """W&B's own step of each row of the history."""
    return [int(row["step"]["num"]) for row in read_records(log, "history")]


def dry_sync(*arguments: str) -> str:
    command = [sys.executable, "-m", "wandb", "sync", "--dry-run", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout + done.stderr


def wait_until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.02)
