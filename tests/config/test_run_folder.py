import os
from pathlib import Path

import pytest

from dda.config.run_folder import last_written, new_run_name, resolve_pairs, resolve_run
from dda.config.schema import EvalConfig
from dda.errors import UserError
from tests.config.test_conf import load, load_checked


def test_a_run_lies_under_outputs_by_task_and_name(tmp_path: Path) -> None:
    cfg = load("amplify", f"paths.outputs={tmp_path}", "run_name='밤 (1)'")
    run = resolve_run(cfg, "amplify")
    assert run.name == "밤 (1)"
    assert run.folder == tmp_path / "amplify" / "밤 (1)"


@pytest.mark.parametrize("name", ["''", "a/b", "..", ".hidden", "'a\\b'", "x" * 256, "사" * 90])
def test_a_run_name_is_one_folder(name: str, tmp_path: Path) -> None:
    cfg = load("amplify", f"paths.outputs={tmp_path}")
    cfg.run_name = name.strip("'")
    with pytest.raises(UserError, match="must be the name of one folder"):
        resolve_run(cfg, "amplify")


def write(path: Path, seconds: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (seconds, seconds))


def test_latest_is_the_run_last_written_to(tmp_path: Path) -> None:
    runs = tmp_path / "amplify"
    write(runs / "b" / "journal-0of1.jsonl", 3000)
    write(runs / "c" / "journal-0of1.jsonl", 1000)
    write(runs / "sweep" / "0_natural" / "journal-0of1.jsonl", 2000)
    write(runs / "refused" / ".hydra" / "time" / "config.yaml", 9000)
    write(runs / "dry" / "multirun.yaml", 9000)
    cfg = load("amplify", f"paths.outputs={tmp_path}", "run_name=latest")
    assert resolve_run(cfg, "amplify").name == "b"
    write(runs / "sweep" / "1_red_lip" / "journal-0of1.jsonl", 4000)
    assert resolve_run(cfg, "amplify").name == "sweep"
    assert last_written(runs / "refused") == last_written(runs / "dry") == 0


def test_latest_needs_a_run(tmp_path: Path) -> None:
    cfg = load("amplify", f"paths.outputs={tmp_path}", "run_name=latest")
    with pytest.raises(UserError, match="there is no run in"):
        resolve_run(cfg, "amplify")


def test_runs_that_start_in_the_same_second_have_names_of_their_own(tmp_path: Path) -> None:
    """As two processes name them: each has a cache of its own."""
    names = []
    for _ in range(3):
        new_run_name.cache_clear()
        names.append(new_run_name("2026-12-01_10-00-00", str(tmp_path), "amplify"))
    assert names == ["2026-12-01_10-00-00", "2026-12-01_10-00-00_2", "2026-12-01_10-00-00_3"]
    assert names[-1] == new_run_name("2026-12-01_10-00-00", str(tmp_path), "amplify")  # the jobs of one process
    assert sorted(folder.name for folder in (tmp_path / "amplify").iterdir()) == names


@pytest.mark.parametrize("given", ["here", "{runs}/here", "latest"])
def test_an_evaluation_takes_a_run_by_its_name_or_its_folder(given: str, tmp_path: Path) -> None:
    runs = tmp_path / "amplify"
    write(runs / "here" / "journal-0of1.jsonl", 3000)
    cfg = load_checked(EvalConfig, f"paths.outputs={tmp_path}", f"run='{given.format(runs=runs)}'")
    assert resolve_pairs(cfg) == runs / "here" and cfg.run_name == "here"


def test_a_run_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run=gone: must be latest, or the folder of a run"):
        resolve_pairs(load_checked(EvalConfig, f"paths.outputs={tmp_path}", "run=gone"))
