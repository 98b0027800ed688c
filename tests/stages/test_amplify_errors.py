"""What `run_amplify.py` does with mistakes and faults: one line, an exit code, nothing half-written."""

import errno
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from diffusers import UNet2DModel

from dda.models.compact.checkpoint import WEIGHTS_NAME, load_compact_model
from dda.pairs.journal import PairRow
from dda.pairs.manifest import read_rows
from tests.stages.test_amplify import same_products

Snapshot = Callable[[Path], dict[str, bytes | None]]
Finish = Callable[..., subprocess.CompletedProcess[str]]
RunHere = Callable[..., None]

PAIRS = 10  # of the run `undisturbed`
USABLE = 9


def ok_rows(run: Path) -> list[PairRow]:
    return [row for row in read_rows(run) if row.status == "ok"]


def refused(caught: pytest.ExceptionInfo[SystemExit]) -> str:
    """The one line with which a start was refused; its exit code is 1, as of every SystemExit with a text."""
    message = caught.value.code
    assert isinstance(message, str) and message.startswith("dda: ") and "\n" not in message
    return message


def test_a_mistake_ends_a_process_with_one_line_and_an_exit_code(tmp_path: Path, finish: Finish) -> None:
    ended = finish("run_amplify.py", "dataset=folder", f"dataset.root={tmp_path}/none", f"paths.outputs={tmp_path}/out")
    assert ended.returncode == 1
    lines = [line for line in ended.stderr.splitlines() if not line.startswith("INFO: Created TensorFlow")]
    assert len(lines) == 1 and lines[0].startswith("dda: dataset.root: there is no folder")
    assert "Traceback" not in ended.stdout + ended.stderr
    assert not list((tmp_path / "out").rglob("*.*"))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["batch_size=0"], "batch_size=0: must be between 1 and 1024"),
        (["style_set=goth"], "style_set=goth: there is no such style_set; allowed: .*natural"),
        (
            ["+style_set.styles.goth.name=Goth"],
            "style_set.styles.goth: a style is added by an experiment, as .*mix.yaml",
        ),
        (["style_set.styles.natural.name=Goth"], "Goth: .*it has: Natural makeup, "),
        (["dataset=folder"], "dataset.root: must be given"),
        (["dataset=folder", "dataset.root={tmp}/empty"], "no pictures below .*empty: looked for .jpg"),
        (["dataset=folder", "dataset.root={tmp}/file.txt"], "is a file"),
        (["dataset=ffhq"], "FFHQ is not at datasets/ffhq"),
        (["model.checkpoint={tmp}/none"], "model.checkpoint=.*none: must be a path that exists"),
        (["model.checkpoint={tmp}/empty"], "no config.json in it"),
        (["model.checkpoint={tmp}/file.txt"], "a file"),
        (["model.checkpoint={tmp}/unet"], "UNet2DModel"),
        (["model.checkpoint={tmp}/cut"], "cannot be loaded"),
        (["shard.index=2", "shard.count=2"], "shard.index=2: must be below shard.count=2"),
        (["run_name=../up"], "run_name=../up: must be the name of one folder"),
        (["run_name=latest"], "there is no run in"),
        (["paths.outputs={tmp}/" + 300 * "x"], "File name too long; give a paths.outputs that can be written to"),
        (["paths.outputs={tmp}/nowhere"], "File exists; give a paths.outputs that can be written to"),
        (["batchsize=4"], "batchsize"),
        (["model.style_images.a=b"], "model.style_images: belongs to model=sd15"),
        (["model.style_images={{a: b}}"], "model.style_images: belongs to model=sd15"),
        (
            ["model=sd15", "model.style_images={{Red lip: a.png}}"],
            "Red lip: there is no such entry yet; add it with a +",
        ),
        (
            ["model=sd15", "model.checkpoint=null", "+model.style_images={{Red lip: 립 (1).png}}"],
            r"Red lip, 립 \(1\).png: cannot be read",
        ),
        (
            ["model=sd15", "model.style_images=none.png"],
            "model.style_images=none.png: .*a mapping such as {NAME: VALUE}",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_and_leaves_nothing_behind(
    arguments: list[str], says: str, tmp_path: Path, tiny_checkpoint: Path, run_here: RunHere,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("no model")
    (tmp_path / "nowhere").symlink_to(tmp_path / "a disk that is not there")
    UNet2DModel(
        sample_size=8, block_out_channels=(8,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
        norm_num_groups=8,
    ).save_pretrained(tmp_path / "unet")  # fmt: skip
    shutil.copytree(tiny_checkpoint, tmp_path / "cut")
    weights = (tmp_path / "cut" / WEIGHTS_NAME).read_bytes()
    (tmp_path / "cut" / WEIGHTS_NAME).write_bytes(weights[: len(weights) // 2])
    default = [f"model.checkpoint={tiny_checkpoint}", f"paths.outputs={tmp_path}/out"]
    with pytest.raises(SystemExit, match=says) as caught:
        run_here("run_amplify.py", *default, *(argument.format(tmp=tmp_path) for argument in arguments))
    refused(caught)
    assert [path for path in (tmp_path / "out").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("seed=1", "seed: is 1 now"),
        ("batch_size=4", "batch_size"),
        ("strength.lips=0.5", "strength"),
        ("model.steps=1", "model"),
        ("style_set=natural", "style_set.styles"),
        ("style_assignment=random", "style_assignment"),
        ("model.checkpoint={tmp}/other", "model.checkpoint"),
        ("dataset.root={tmp}/fewer", "dataset.root"),
        ("shard.count=2", "shard.count"),
    ],
)
def test_a_resume_with_other_settings_is_refused_and_leaves_the_folder_as_it_was(
    change: str, key: str, job: list[str], copied: Path, photos: Path, tmp_path: Path, tiny_checkpoint: Path,
    run_here: RunHere, snapshot: Snapshot,
) -> None:  # fmt: skip
    other = load_compact_model(tiny_checkpoint)
    other.alpha.mul_(0.5)
    other.save_pretrained(tmp_path / "other")
    shutil.copytree(photos, tmp_path / "fewer")
    (tmp_path / "fewer" / "astronaut.png").unlink()
    before = snapshot(copied)
    times = {path: path.stat().st_mtime_ns for path in copied.rglob("*") if path.is_file()}
    for dry_run in ("true", "false"):
        with pytest.raises(SystemExit, match=key) as caught:
            run_here(
                "run_amplify.py", *job, change.format(tmp=tmp_path), f"dry_run={dry_run}",
                f"num_pairs={PAIRS}", f"paths.outputs={tmp_path}", "run_name=run",
            )  # fmt: skip
        assert "was begun with" in refused(caught) and "another run_name" in refused(caught)
    assert snapshot(copied) == before
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_no_usable_picture_is_an_error_with_the_reasons_on_the_disk(
    job: list[str], photos: Path, tmp_path: Path, run_here: RunHere
) -> None:
    where = [f"dataset.root={photos}/bad", f"paths.outputs={tmp_path}", "run_name=bad"]
    with pytest.raises(SystemExit, match="no pair was made") as caught:
        run_here("run_amplify.py", *job, *where)
    refused(caught)
    run = tmp_path / "amplify" / "bad"
    assert sorted(row.path for row in read_rows(run)) == ["coffee.png", "cut_short.jpg", "letter.jpg"]
    assert all(row.status == "rejected" and row.reason for row in read_rows(run))
    assert list((run / "amplified_data" / "target").iterdir()) == []


def test_a_pair_that_could_not_be_written_is_a_failure_and_is_tried_again(
    job: list[str], undisturbed: Path, tmp_path: Path, run_here: RunHere
) -> None:
    """A folder stands where a picture should go, and then no longer does."""
    run = tmp_path / "amplify" / "run"
    arguments = [*job, f"paths.outputs={tmp_path}", "run_name=run"]
    place = ok_rows(undisturbed)[3].place
    in_the_way = run / "amplified_data" / "target" / f"image_{place:04d}.png"
    in_the_way.mkdir(parents=True)
    with pytest.raises(SystemExit, match=r"failure_budget=0.05: 1 of 12 pairs \(8.3%\) failed") as caught:
        run_here("run_amplify.py", *arguments)
    refused(caught)
    (failed,) = [row for row in read_rows(run) if row.status == "failed"]
    assert (failed.place, failed.stage, failed.name) == (place, "write", "") and failed.reason
    assert pq.read_table(run / "manifest.parquet").num_rows == len(ok_rows(run)) == USABLE - 1
    in_the_way.rmdir()
    run_here("run_amplify.py", *arguments)
    assert len(ok_rows(run)) == USABLE
    assert {row.attempt for row in read_rows(run)} == {0}  # the fault was not the noise's
    assert in_the_way.is_file() and not list(run.rglob("*.tmp"))


def test_a_failed_pair_is_tried_again_though_another_took_its_place(
    job: list[str], undisturbed: Path, tmp_path: Path, run_here: RunHere
) -> None:
    run = tmp_path / "amplify" / "run"
    arguments = [*job, "num_pairs=4", f"paths.outputs={tmp_path}", "run_name=run"]
    first = ok_rows(undisturbed)[1]
    in_the_way = run / "amplified_data" / "target" / first.name
    in_the_way.mkdir(parents=True)
    with pytest.raises(SystemExit, match="the same run_name tries them again"):
        run_here("run_amplify.py", *arguments)
    assert len(ok_rows(run)) == 4 and first.place not in [row.place for row in ok_rows(run)]
    assert not (run / "amplified_data" / "source" / first.name).exists()
    in_the_way.rmdir()
    run_here("run_amplify.py", *arguments)
    assert len(ok_rows(run)) == 5 and first.place in [row.place for row in ok_rows(run)]


def test_a_full_disk_ends_the_run_and_room_lets_it_go_on(
    job: list[str], undisturbed: Path, tmp_path: Path, run_here: RunHere, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, whole, written = tmp_path / "amplify" / "run", os.fsync, Counter[str]()

    def fsync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        written["pictures"] += name.endswith(".png.0.tmp")
        if written["pictures"] > 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        whole(descriptor)

    arguments = [*job, f"num_pairs={PAIRS}", f"paths.outputs={tmp_path}", "run_name=run"]
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", fsync)
        with pytest.raises(SystemExit, match="No space left on device; make room") as caught:
            run_here("run_amplify.py", *arguments)
    refused(caught)
    assert not [row for row in read_rows(run) if row.status == "failed"] and not list(run.rglob("*.tmp"))
    run_here("run_amplify.py", *arguments)
    same_products(run, undisturbed)


def test_a_place_that_cannot_be_written_to_is_told_in_one_line(tmp_path: Path, run_here: RunHere) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=r"file.*: Not a directory; give a paths\.outputs") as caught:
        run_here("run_amplify.py", f"paths.outputs={tmp_path}/file")
    refused(caught)


def test_failures_within_the_budget_are_no_error(
    job: list[str], undisturbed: Path, tmp_path: Path, run_here: RunHere
) -> None:
    name = ok_rows(undisturbed)[3].name
    (tmp_path / "amplify" / "run" / "amplified_data" / "target" / name).mkdir(parents=True)
    run_here("run_amplify.py", *job, f"paths.outputs={tmp_path}", "run_name=run", "failure_budget=0.1")
    assert len(ok_rows(tmp_path / "amplify" / "run")) == USABLE - 1
