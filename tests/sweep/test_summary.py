"""Sweeps as a user starts them, and the summary that they end with."""

import csv
import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dda.errors import UserError
from dda.images import read_image
from dda.sweep import summary
from dda.sweep.__main__ import main
from dda.sweep.comparison import shared_faces
from dda.sweep.jobs import read_jobs

RunHere = Callable[..., None]


def read_csv(folder: Path) -> list[dict[str, str]]:
    with (folder / "sweep_summary.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="session")
def two_styles(
    tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory, finish: Callable[..., object]
) -> tuple[Path, str]:
    """The folder of a sweep over two styles of the two demo faces, not to be changed, and what it printed."""
    outputs = tmp_path_factory.mktemp("sweep")
    ended = finish(
        "run_amplify.py", "-m", "style_set=red_lip,natural", f"model.checkpoint={tiny_checkpoint}", "device=cpu",
        "batch_size=2", f"paths.outputs={outputs}", "run_name=two",
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr  # type: ignore[attr-defined]
    return outputs / "amplify" / "two", ended.stdout  # type: ignore[attr-defined]


def test_a_sweep_ends_with_a_table_of_its_jobs(two_styles: tuple[Path, str]) -> None:
    folder, printed = two_styles
    rows = read_csv(folder)
    assert [row["job"] for row in rows] == ["0_red_lip", "1_natural"]
    assert list(rows[0])[:6] == ["job", "style_set", "problem", "ok", "rejected", "failed"]
    for row, job in zip(rows, read_jobs(folder), strict=True):
        assert (row["ok"], row["rejected"], row["failed"], row["problem"]) == ("2", "0", "0", "")
        changes = [pair.measures["makeup_change"] for pair in job.made]
        assert len(changes) == 2
        assert float(row["makeup_change"]) == pytest.approx(sum(changes) / 2, rel=1e-5) != 0
        assert float(row["background_pixels"]) == 0 < float(row["mask_share"]) < 1
        assert float(row["pairs_per_second"]) > 0
        assert job.folder.name in printed
    assert "sweep_summary.png" in printed and "sweep_summary.csv" in printed


def test_the_sheet_shows_the_same_faces_in_every_job(two_styles: tuple[Path, str]) -> None:
    folder, _ = two_styles
    jobs = read_jobs(folder)
    assert [job.label for job in jobs] == ["red_lip", "natural"]
    blocks = shared_faces(jobs)
    assert list(blocks) == [""] and len(blocks[""]) == 2
    for row in blocks[""]:
        assert list(row.targets) == ["0_red_lip", "1_natural"]
        for target in row.targets.values():  # the same face: the background is the source's
            assert np.array_equal(target[:20], row.source[:20]) and not np.array_equal(target, row.source)
    height, width, _ = read_image(folder / "sweep_summary.png").shape
    assert 2 * 256 < height < 3 * 256 and 3 * 256 < width < 4 * 256


def test_the_summary_is_made_again_from_the_folder(
    two_styles: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A job that was killed, or whose pictures have gone since, is told as such."""
    folder = Path(shutil.copytree(two_styles[0], tmp_path / "two"))
    written = {name: (folder / name).read_bytes() for name in ("sweep_summary.csv", "sweep_summary.png")}
    for name in written:
        (folder / name).unlink()
    monkeypatch.setattr("sys.argv", ["sweep", str(folder)])
    main()
    assert {name: (folder / name).read_bytes() for name in written} == written

    journal = folder / "1_natural" / "journal-0of1.jsonl"
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:1]))
    lost, other = sorted((folder / "0_red_lip" / "amplified_data" / "source").glob("*.png"))
    lost.unlink()  # either picture of a pair
    (folder / "0_red_lip" / "amplified_data" / "target" / other.name).unlink()
    main()
    assert [row["problem"] for row in read_csv(folder)] == ["", "not finished"]
    assert "1_natural: not finished" in capsys.readouterr().out
    (row,) = shared_faces(read_jobs(folder))[""]
    assert list(row.targets) == ["1_natural"]

    for job in ("0_red_lip", "1_natural"):
        shutil.rmtree(folder / job / "amplified_data")
    (folder / "sweep_summary.png").unlink()
    main()  # the numbers are there, if not the pictures
    assert [row["ok"] for row in read_csv(folder)] == ["2", "1"] and not (folder / "sweep_summary.png").exists()
    assert "sweep_summary.csv" in capsys.readouterr().out

    journal.write_bytes(b"{}\n")
    assert "damaged line" in read_jobs(folder)[1].problem


def test_a_failed_job_is_a_row_and_the_others_are_made(
    tiny_checkpoint: Path, run_here: RunHere, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing" / "checkpoint"
    arguments = [f"paths.outputs={tmp_path}", "run_name=r", "device=cpu", "style_set=natural", "num_pairs=1"]
    with pytest.raises(SystemExit) as ended:
        run_here("run_amplify.py", "-m", f"model.checkpoint={missing},{tiny_checkpoint}", *arguments)
    reason = f"model.checkpoint={missing}: must be a path that exists"
    assert ended.value.code == f"dda: job 0_natural failed: {reason}"
    told = capsys.readouterr()
    assert f"dda: job 0_natural: {reason}\n" in told.err
    assert "0_natural: model.checkpoint=" in told.out
    failed, made = read_csv(tmp_path / "amplify" / "r")
    assert (failed["problem"], failed["ok"], failed["makeup_change"]) == (reason, "0", "")
    assert (made["problem"], made["ok"], made["model.checkpoint"]) == ("", "1", str(tiny_checkpoint))


def test_a_sweep_of_failures_leaves_no_summary(run_here: RunHere, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="job 0_all failed: batch_size=0: must be between 1 and 1024"):
        run_here("run_amplify.py", "-m", "batch_size=0,-1", f"paths.outputs={tmp_path}", "run_name=r")
    assert not list(tmp_path.rglob("sweep_summary.*"))
    problems = [job.problem for job in read_jobs(tmp_path / "amplify" / "r")]
    assert problems == [f"batch_size={size}: must be between 1 and 1024" for size in (0, -1)]


def test_a_disk_without_room_for_the_summary_does_not_hide_why_a_job_failed(
    run_here: RunHere, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write_text(file: Path, *_: object, **__: object) -> None:
        file.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))

    reason = "batch_size=0: must be between 1 and 1024"
    with monkeypatch.context() as full, pytest.raises(SystemExit, match=f"^dda: job 0_all failed: {reason}$"):
        full.setattr(Path, "write_text", write_text)
        full.setattr(summary, "summarize", write_text)
        run_here("run_amplify.py", "-m", "batch_size=0,-1", f"paths.outputs={tmp_path}", "run_name=r")
    assert "the sweep could not be summarized: " in capsys.readouterr().err
    folder = tmp_path / "amplify" / "r"
    assert [job.problem for job in read_jobs(folder)] == ["failed", "failed"]


def test_a_sweep_of_dry_runs_leaves_nothing(run_here: RunHere, tmp_path: Path) -> None:
    run_here("run_amplify.py", "-m", "seed=0,1", "dry_run=true", f"paths.outputs={tmp_path}", "run_name=r")
    assert not (tmp_path / "amplify" / "r").exists()


def test_shards_are_one_job(tiny_checkpoint: Path, run_here: RunHere, tmp_path: Path) -> None:
    run_here(
        "run_amplify.py", "-m", "shard.index=range(2)", "shard.count=2", "style_set=natural", "batch_size=1",
        f"model.checkpoint={tiny_checkpoint}", "device=cpu", f"paths.outputs={tmp_path}", "run_name=r",
    )  # fmt: skip
    (row,) = read_csv(tmp_path / "amplify" / "r")
    assert (row["job"], row["ok"], row["problem"]) == ("natural", "2", "")
    assert "shard.index" not in row
    (tmp_path / "amplify" / "r" / "natural" / "journal-1of2.jsonl").unlink()
    assert read_jobs(tmp_path / "amplify" / "r")[0].problem == "1 of 2 shards not finished"


def test_shards_are_swept_with_styles_alone(run_here: RunHere, tmp_path: Path) -> None:
    both = ["-m", "shard.index=range(2)", "shard.count=2", "seed=0,1", "style_set=natural,red_lip"]
    with pytest.raises(SystemExit, match=r"dda: seed: is swept together with shard\.index"):
        run_here("run_amplify.py", *both, f"paths.outputs={tmp_path}", "run_name=r")
    assert not list(tmp_path.rglob("*.png"))


@pytest.mark.parametrize("swept", ["run_name=a,b", "paths.outputs=a,b"])
def test_what_names_the_folder_of_all_jobs_is_not_swept(swept: str, run_here: RunHere, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=rf"dda: {swept.partition('=')[0]}: cannot be swept"):
        run_here("run_amplify.py", "-m", f"paths.outputs={tmp_path}", swept)
    assert not list(tmp_path.rglob("*.png"))


def test_a_folder_without_jobs_is_refused(two_styles: tuple[Path, str], tmp_path: Path) -> None:
    for folder in (two_styles[0] / "0_red_lip", tmp_path):
        with pytest.raises(UserError, match="no jobs here: give the folder of a sweep"):
            summary.summarize(folder)
