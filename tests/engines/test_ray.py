"""The engine of many machines, on a pool of two processes of this one."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dda.pairs.manifest import read_rows
from dda.pairs.plan import make_plan
from tests.stages.test_amplify import same_products, wait_until

pytest.importorskip("ray.data", reason='engine=ray needs pip install -e ".[ray]"')

POOL = ["engine=ray", "engine.workers=2"]


@pytest.mark.parametrize(("workers", "faces_a_block"), [(1, 8), (2, 4), (40, 4)])
def test_a_face_is_dealt_with_all_its_styles_in_whole_batches(workers: int, faces_a_block: int) -> None:
    from dda.engines.ray import deal

    plan = make_plan([f"{face:03d}.png" for face in range(70)], ["a", "b"], "random", seed=0)
    blocks = deal(plan.pairs, 4, workers)
    assert sorted(pair.place for block in blocks for pair in block) == list(range(140))
    faces = [[pair.path for pair in block] for block in blocks]
    assert all(paths[0::2] == paths[1::2] for paths in faces)
    assert {len(set(paths)) for paths in faces[:-1]} == {faces_a_block}
    assert len(set().union(*faces)) == sum(len(set(paths)) for paths in faces) == 70


def test_blocks_are_no_larger_than_worth_losing() -> None:
    from dda.engines.ray import MOST_BATCHES, deal

    plan = make_plan([f"{face}.png" for face in range(2000)], ["a"], "all", seed=0)
    assert {len(block) for block in deal(plan.pairs, 2, 1)} == {2 * MOST_BATCHES}


def test_a_cluster_that_does_not_answer_is_told_in_one_line(tmp_path: Path, run_here: Callable[..., None]) -> None:
    where = ["engine.address=127.0.0.1:1", f"paths.outputs={tmp_path}", "run_name=run"]
    with pytest.raises(SystemExit, match=r"engine\.address=127\.0\.0\.1:1: no Ray cluster answers there"):
        run_here("run_amplify.py", "engine=ray", *where)
    assert not (tmp_path / "amplify" / "run").exists()


@pytest.mark.parametrize(
    ("setting", "said"),
    [("engine.threads=4096", "engine.threads=4096: this machine has"), ("device=cuda", "Ray sees no GPU")],
)
def test_what_this_machine_has_not_is_not_waited_for(
    setting: str, said: str, tmp_path: Path, run_here: Callable[..., None]
) -> None:
    if setting == "device=cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit, match=said):
        run_here("run_amplify.py", "engine=ray", setting, f"paths.outputs={tmp_path}")


def test_workers_that_are_killed_lose_nothing(
    job: list[str], tmp_path: Path, start: Callable[..., subprocess.Popen[str]], run_here: Callable[..., None]
) -> None:
    """A pool makes the files of a plain run, replacements of pictures that give no pair among them.

    All workers are killed at once, so that one that was writing is among them.
    """
    settings = [*job, "style_assignment=all", "num_pairs=40", f"paths.outputs={tmp_path}"]
    run_here("run_amplify.py", *settings, "run_name=plain")
    plain, pool = (tmp_path / "amplify" / name for name in ("plain", "pool"))
    rows = read_rows(plain)
    assert {row.status for row in rows} == {"ok", "rejected"}

    process = start("run_amplify.py", *settings, *POOL, "run_name=pool")
    target = pool / "amplified_data" / "target"
    wait_until(lambda: target.is_dir() and any(target.glob("image_*")), process)
    for worker in workers(process.pid):
        os.kill(worker, signal.SIGKILL)
    assert len(read_rows(pool)) < len(rows), "all was made before a worker could be killed"
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    same_products(pool, plain)
    assert not list(pool.rglob("*.tmp"))
    assert len((pool / "journal-0of1.jsonl").read_text().splitlines()) == len(rows) + 1  # each pair once, and the end


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
