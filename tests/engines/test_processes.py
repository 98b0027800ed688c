"""Runs of several processes: `launch=local`, and Hydra's submitit launcher as `launch=slurm` uses it."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dda.engines.processes import _deferred_signals, _environment, visible_gpus
from dda.pairs.journal import find_journals, read_journal
from tests.conftest import ROOT
from tests.stages.test_amplify import same_products, wait_until

RunHere = Callable[..., None]


@pytest.fixture(scope="module")
def settings(job: list[str]) -> list[str]:
    return [*job, "num_pairs=8"]


@pytest.fixture(scope="module")
def plain(settings: list[str], tmp_path_factory: pytest.TempPathFactory, run_here: RunHere) -> Path:
    """The run that two processes make together, made by one, shard after shard."""
    outputs = tmp_path_factory.mktemp("plain")
    shards = ["-m", "shard.index=0,1", "shard.count=2", f"paths.outputs={outputs}", "run_name=run"]
    run_here("run_amplify.py", *settings, *shards)
    return outputs / "amplify" / "run" / "all"


def same_run(run: Path, other: Path) -> None:
    """The shards did not overlap, nothing is missing, and every file that a user gets is the same."""
    journals, count = find_journals(run)
    made = [set(read_journal(file).rows) for file in journals.values()]
    assert list(journals) == [0, 1] and count == 2
    assert all(made) and not made[0] & made[1]
    same_products(run, other)


def test_a_machine_makes_a_run_with_several_processes(
    settings: list[str], plain: Path, tmp_path: Path, finish: Callable[..., subprocess.CompletedProcess[str]],
    run_here: RunHere, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    name = "밤 1, [a]"  # as typed, in every process
    launch = ["launch=local", "launch.processes=2", f"paths.outputs={tmp_path}", f"run_name={name}"]
    ended = finish("run_amplify.py", *settings, *launch)
    assert ended.returncode == 0, ended.stderr
    same_run(tmp_path / "amplify" / name, plain)
    lines = ended.stdout.splitlines()
    assert all(any(line.startswith(f"[{index}] Pairs ") for line in lines) for index in (0, 1))
    assert "8/8" in ended.stdout
    run_here("run_amplify.py", *settings, *launch, "dry_run=true")
    assert "8 already in" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit, match=r"shard\.count: is 3 now, but"):
        run_here("run_amplify.py", *settings, *launch, "launch.processes=3")


def test_a_process_that_fails_ends_the_others(
    settings: list[str], tmp_path: Path, run_here: RunHere, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "amplify" / "run"
    run.mkdir(parents=True)
    (run / "journal-1of2.jsonl").write_text("damaged\n")
    before = set(children(os.getpid()))
    with pytest.raises(SystemExit, match=r"dda: launch=local: shard 1 of 2 ended with code 1, the lines that begin"):
        run_here(
            "run_amplify.py",
            *settings,
            f"paths.outputs={tmp_path}",
            "run_name=run",
            "launch=local",
            "launch.processes=2",
        )
    assert "[1] dda: " in capfd.readouterr().err
    assert set(children(os.getpid())) == before


def test_an_interrupted_run_leaves_no_process_behind(
    settings: list[str], tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    launch = ["launch=local", "launch.processes=2", f"paths.outputs={tmp_path}", "run_name=run"]
    process = start("run_amplify.py", *settings, *launch)
    wait_until(lambda: len(list(children(process.pid))) == 2, process)
    processes = list(children(process.pid))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert len(processes) == 2 and not any(Path(f"/proc/{child}").exists() for child in processes)


def children(parent: int) -> Iterator[int]:
    """Ids of the processes that a process started."""
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        yield from map(int, task.read_text().split())


def test_signals_are_deferred_but_for_those_that_were_ignored_before() -> None:
    """As SIGHUP is under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with _deferred_signals() as signals:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
        assert signals == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_shards_take_turns_at_the_gpus() -> None:
    given = [_environment(index, 3, ["2", "GPU-5f1"])["CUDA_VISIBLE_DEVICES"] for index in range(3)]
    assert given == ["2", "GPU-5f1", "2"]


def test_gpus_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5f1")
    assert visible_gpus() == ["2", "GPU-5f1"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["launch=local", "shard.index=0", "shard.count=2"], "shard.count=2: launch=local makes the shards itself"),
        (["launch=local", "engine=ray"], "launch=local: engine=ray starts processes itself"),
        (["launch=local", "device=cuda:1"], "device=cuda:1: each process gets a GPU of its own"),
        (["launch=local", "launch.processes=0"], "launch.processes=0: must be at least 1"),
        (["launch.processes=2"], "launch.processes: belongs to launch=local"),
        (["engine.workers=2"], "engine.workers: belongs to engine=ray"),
        (["engine=ray", "faces=all", "num_pairs=3"], "engine=ray: with faces=all nobody knows beforehand"),
    ],
)
def test_what_does_not_go_together_is_refused(
    arguments: list[str], said: str, tmp_path: Path, run_here: RunHere
) -> None:
    with pytest.raises(SystemExit, match=said):
        run_here("run_amplify.py", *arguments, f"paths.outputs={tmp_path}")


# --- Slurm ------------------------------------------------------------------------------------------------


def needs_submitit() -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason='launch=slurm needs pip install -e ".[slurm]"')


def test_jobs_of_submitit_make_one_run(
    settings: list[str], plain: Path, tmp_path: Path, finish: Callable[..., subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    needs_submitit()
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")  # as if installed
    shards = ["launch=slurm", "hydra/launcher=submitit_local", "shard.index=range(2)", "shard.count=2"]
    ended = finish("run_amplify.py", "-m", *settings, *shards, f"paths.outputs={tmp_path}", "run_name=big")
    assert ended.returncode == 0, ended.stderr
    same_run(tmp_path / "amplify" / "big" / "all", plain)


def test_a_machine_without_slurm_is_told_in_one_line(
    tmp_path: Path, run_here: RunHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_submitit()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="launch=slurm: this machine has no Slurm"):
        run_here(
            "run_amplify.py", "-m", "launch=slurm", "shard.index=0,1", "shard.count=2", f"paths.outputs={tmp_path}"
        )


def test_slurm_needs_a_multirun(tmp_path: Path, run_here: RunHere) -> None:
    needs_submitit()
    with pytest.raises(SystemExit, match=r"launch=slurm: each shard is a job of a multirun; write -m 'shard\.index="):
        run_here("run_amplify.py", "launch=slurm", f"paths.outputs={tmp_path}")


def test_slurm_says_what_it_lacks(tmp_path: Path, run_here: RunHere, monkeypatch: pytest.MonkeyPatch) -> None:
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    Plugins.instance()  # has put the launchers it found into the store
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["launcher"], "submitit_slurm.yaml", raising=False)
    with pytest.raises(SystemExit, match=r'submitit_slurm: its package is not installed; pip install -e "\.\[slurm\]"'):
        run_here("run_amplify.py", "-m", "launch=slurm", f"paths.outputs={tmp_path}")
