"""The engine of many machines, on a pool of two processes of this one."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dda.pairs.manifest import read_rows

pytest.importorskip("ray.data", reason='engine=ray needs pip install -e ".[ray]"')

POOL = ["engine=ray", "engine.workers=2"]


def products(run: Path) -> dict[str, bytes]:
    """Pictures and tables, by relative path."""
    files = [*(run / "amplified_data").rglob("*"), run / "manifest.parquet"]
    return {file.relative_to(run).as_posix(): file.read_bytes() for file in files if file.is_file()}


def same_products(run: Path, other: Path) -> None:
    made, expected = products(run), products(other)
    assert made.keys() == expected.keys()
    assert [name for name in made if made[name] != expected[name]] == []
    assert pq.read_table(run / "manifest.parquet").equals(pq.read_table(other / "manifest.parquet"))
    assert read_rows(run) == read_rows(other)


def test_a_pool_makes_the_files_of_a_plain_run(
    job: list[str], undisturbed: Path, tmp_path: Path, finish: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """Pictures that give no pair among them: their replacements are the plain run's."""
    ended = finish("run_amplify.py", *job, *POOL, "num_pairs=10", f"paths.outputs={tmp_path}", "run_name=run")
    assert ended.returncode == 0, ended.stderr
    same_products(tmp_path / "amplify" / "run", undisturbed)


def test_a_worker_that_is_killed_loses_nothing(
    job: list[str], tmp_path: Path, start: Callable[..., subprocess.Popen[str]],
    run_here: Callable[..., None],
) -> None:  # fmt: skip
    settings = [*job, "style_assignment=all", "num_pairs=null", f"paths.outputs={tmp_path}"]
    run_here("run_amplify.py", *settings, "run_name=plain")
    pairs = len(read_rows(tmp_path / "amplify" / "plain"))

    process = start("run_amplify.py", *settings, *POOL, "run_name=pool")
    run = tmp_path / "amplify" / "pool"
    target = run / "amplified_data" / "target"
    wait_until(lambda: target.is_dir() and any(target.glob("image_*")), process)
    worker = workers(process.pid)[0]
    os.kill(worker, signal.SIGKILL)
    assert len(read_rows(run)) < pairs, "all was made before a worker could be killed"
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    same_products(run, tmp_path / "amplify" / "plain")
    assert not list(run.rglob("*.tmp"))


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


def workers(driver: int) -> list[int]:
    """Ids of the processes below a driver that hold a model."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except FileNotFoundError:
            continue  # it has ended meanwhile

    def below(process: int) -> bool:
        return process == driver or (process in parents and below(parents[process]))

    return [process for process in parents if below(process) and "MapWorker" in title(process)]


def title(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except FileNotFoundError:
        return ""
