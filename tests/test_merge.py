import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dda.errors import UserError
from dda.merge import merge
from dda.pairs.journal import Journal, PairRow


def _shard(run_dir: Path, index: int, num_pairs: int | None = None, finish: bool = True) -> None:
    row = PairRow(index, 0, "a.png", "x", 0, "ok", "write", "", f"image_{index:04d}.png", "ab" * 32)
    with Journal(run_dir, index, 3) as journal:
        journal.append([row])
        if finish:
            journal.finish(num_pairs, 2.0)


def test_finished_shards_become_one_manifest(tmp_path: Path) -> None:
    for index in (2, 0, 1):
        _shard(tmp_path, index, 3)
    assert pq.read_table(merge(tmp_path))["place"].to_pylist() == [0, 1, 2]


def test_missing_and_unfinished_shards_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no journal here"):
        merge(tmp_path)
    _shard(tmp_path, 1)
    with pytest.raises(UserError, match="no journal of shard 0, 2 of 3"):
        merge(tmp_path)
    _shard(tmp_path, 0)
    _shard(tmp_path, 2, finish=False)
    with pytest.raises(UserError, match="shard 2 of 3 not finished"):
        merge(tmp_path)
    assert not (tmp_path / "manifest.parquet").exists()


def test_shards_of_different_length_are_refused(tmp_path: Path) -> None:
    _shard(tmp_path, 0, 10)
    _shard(tmp_path, 1, 40)
    _shard(tmp_path, 2, 40)
    with pytest.raises(UserError, match=r"different num_pairs \(0: 10, 1: 40, 2: 40\)"):
        merge(tmp_path)


def test_command_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dda.merge", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.startswith("dda: ") and run.stderr.count("\n") == 1 and "no journal here" in run.stderr
    for index in range(3):
        _shard(tmp_path, index)
    run = subprocess.run(command, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, f"{tmp_path / 'manifest.parquet'}\n")
