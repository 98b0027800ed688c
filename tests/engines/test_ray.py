"""The engine of many machines, on a pool of two processes of this one."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from dda.pairs.manifest import read_rows
from tests.test_amplify import same_products, wait_until

pytest.importorskip("ray.data", reason='engine=ray needs pip install -e ".[ray]"')

POOL = ["engine=ray", "engine.workers=2"]


def test_a_pool_makes_the_files_of_a_plain_run(
    job: list[str], undisturbed: Path, tmp_path: Path, finish: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    """Pictures that give no pair among them: their replacements are the plain run's."""
    ended = finish("run_amplify.py", *job, *POOL, "num_pairs=10", f"paths.outputs={tmp_path}", "run_name=run")
    assert ended.returncode == 0, ended.stderr
    same_products(tmp_path / "amplify" / "run", undisturbed)


def test_workers_that_are_killed_lose_nothing(
    job: list[str], tmp_path: Path, start: Callable[..., subprocess.Popen[str]], run_here: Callable[..., None]
) -> None:
    """All of them at once, so that one that was writing is among them."""
    settings = [*job, "style_assignment=all", "num_pairs=null", f"paths.outputs={tmp_path}"]
    run_here("run_amplify.py", *settings, "run_name=plain")
    plain, pool = (tmp_path / "amplify" / name for name in ("plain", "pool"))
    rows = len(read_rows(plain))

    process = start("run_amplify.py", *settings, *POOL, "run_name=pool")
    target = pool / "amplified_data" / "target"
    wait_until(lambda: target.is_dir() and any(target.glob("image_*")), process)
    for worker in workers(process.pid):
        os.kill(worker, signal.SIGKILL)
    assert len(read_rows(pool)) < rows, "all was made before a worker could be killed"
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    same_products(pool, plain)
    assert not list(pool.rglob("*.tmp"))
    assert len((pool / "journal-0of1.jsonl").read_text().splitlines()) == rows + 1  # each pair once, and the end


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
