"""`run_amplify.py` as a user starts it: real processes where a process matters, the same entry point elsewhere."""

import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dda.images import read_image
from dda.pairs.journal import PairRow
from dda.pairs.manifest import read_rows
from tests.conftest import ROOT

Snapshot = Callable[[Path], dict[str, bytes | None]]
RunHere = Callable[..., None]

PAIRS = 10
USABLE = 9


def products(run: Path) -> dict[str, bytes]:
    """Everything a run makes for its user, by relative path: pictures, tables, the sample grid."""
    files = [*(run / "amplified_data").rglob("*"), run / "manifest.parquet"]
    return {file.relative_to(run).as_posix(): file.read_bytes() for file in files if file.is_file()}


def same_products(run: Path, other: Path) -> None:
    made, expected = products(run), products(other)
    assert made.keys() == expected.keys()
    assert [name for name in made if made[name] != expected[name]] == []
    assert manifest(run).equals(manifest(other))
    assert read_rows(run) == read_rows(other)


def manifest(run: Path) -> pa.Table:
    return pq.read_table(run / "manifest.parquet")


def pictures(run: Path, row: PairRow) -> tuple[np.ndarray, np.ndarray]:
    return tuple(read_image(run / "amplified_data" / side / row.name) for side in ("source", "target"))  # type: ignore[return-value]


def ok_rows(run: Path) -> list[PairRow]:
    return [row for row in read_rows(run) if row.status == "ok"]


# --- One run --------------------------------------------------------------------------------------------


def test_a_run_makes_the_pairs_asked_for_and_says_where_they_are(undisturbed: Path) -> None:
    rows = ok_rows(undisturbed)
    assert len(rows) == PAIRS == manifest(undisturbed).num_rows
    for side in ("source", "target"):
        assert sorted(f.name for f in (undisturbed / "amplified_data" / side).iterdir()) == [r.name for r in rows]
    for row in rows:
        assert row.name == f"image_{row.place:04d}.png"
        source, target = pictures(undisturbed, row)
        assert source.shape == target.shape == (512, 512, 3) and not np.array_equal(source, target)
    with Image.open(undisturbed / "amplified_data" / "samples_visualization.png") as grid:
        assert min(grid.size) > 512


def test_every_place_up_to_the_last_is_a_row_with_a_reason_if_it_is_no_pair(undisturbed: Path) -> None:
    rows = read_rows(undisturbed)
    assert [row.place for row in rows] == list(range(len(rows)))
    assert rows[-1].status == "ok"  # it stopped as soon as it had enough
    refused = {row.path: row for row in rows if row.status != "ok"}
    assert refused and all(path.startswith("bad/") for path in refused)
    assert all(row.status == "rejected" and row.stage and row.reason and not row.name for row in refused.values())
    styles = Counter(row.style for row in rows if row.status == "ok")
    assert len(styles) == 5


def test_where_the_masks_are_zero_target_bytes_are_source_bytes(undisturbed: Path, photos: Path, parser: Any) -> None:
    from dda.faces.dataset import FaceDataset
    from dda.faces.preparation import PreparedFace, prepare_faces

    for row in ok_rows(undisturbed):
        (face,) = prepare_faces(FaceDataset("folder", photos, False), row.path, parser, "largest")
        assert isinstance(face, PreparedFace) and face.content_hash == row.content_hash
        source, target = pictures(undisturbed, row)
        assert np.array_equal(source, face.source)
        background = face.regions.total_mask == 0
        assert background.mean() > 0.2
        assert np.array_equal(source[background], target[background])
        assert row.measures["background_pixels"] == 0


def test_the_folder_holds_only_what_it_should(undisturbed: Path) -> None:
    top = {path.name for path in undisturbed.iterdir() if not path.name.startswith(".")}
    assert top == {"amplified_data", "journal-0of1.jsonl", "manifest.parquet", "settings.json"}
    assert not list(undisturbed.rglob("*.tmp"))
    assert len(list(undisturbed.glob(".hydra/*/config.yaml"))) == 1


def test_the_journal_is_json_a_line(undisturbed: Path) -> None:
    lines = (undisturbed / "journal-0of1.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    speed = rows[-1].pop("pairs_per_second")
    assert speed > 0 and rows[-1] == {"finished": True, "num_pairs": PAIRS}
    assert {row["status"] for row in rows[:-1]} == {"ok", "rejected"}


def test_the_demo_runs_with_no_settings_but_where_to_write(
    run_here: RunHere, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shipped weights, both portraits, all five styles."""
    run_here("run_amplify.py", f"paths.outputs={tmp_path}", "run_name=demo")
    run = tmp_path / "amplify" / "demo"
    counts = Counter((row.path, row.style) for row in ok_rows(run))
    assert len(counts) == 10 and {path for path, _ in counts} == {"astronaut.png", "grace_hopper.jpg"}
    told = capsys.readouterr().out
    assert "10 made now" in told
    assert f"Look at       {os.path.relpath(run)}/amplified_data/samples_visualization.png\n" in told


# --- The same bytes, whatever happens on the way ----------------------------------------------------------


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it had ended before it could be killed"


def test_a_run_killed_twice_ends_as_the_undisturbed_one(
    job: list[str], undisturbed: Path, tmp_path: Path, start: Callable[..., subprocess.Popen[str]], run_here: RunHere
) -> None:
    command = ["run_amplify.py", *job, f"num_pairs={PAIRS}", f"paths.outputs={tmp_path}", "run_name=run"]
    run = tmp_path / "amplify" / "run"
    journal, target = run / "journal-0of1.jsonl", run / "amplified_data" / "target"

    process = start(*command)  # dies with the first picture on the disk
    wait_until(lambda: target.is_dir() and any(target.glob("image_*")), process)
    kill(process)
    assert len(list(target.glob("image_*"))) < PAIRS and not (run / "manifest.parquet").exists()

    process = start(*command)  # dies once the journal knows of pairs
    wait_until(lambda: b'"ok"' in journal.read_bytes(), process)
    kill(process)
    done = ok_rows(run)
    assert 0 < len(done) < PAIRS
    written = {row.name: (target / row.name).stat().st_mtime_ns for row in done}

    run_here(*command)
    same_products(run, undisturbed)
    assert not list(run.rglob("*.tmp"))
    assert {name: (target / name).stat().st_mtime_ns for name in written} == written  # finished pairs are left alone


def test_other_numbers_of_workers_make_the_same_files(
    job: list[str], undisturbed: Path, tmp_path: Path, run_here: RunHere
) -> None:
    where = [f"num_pairs={PAIRS}", f"paths.outputs={tmp_path}", "run_name=sweep"]
    run_here("run_amplify.py", "-m", *job, *where, "batch.workers=1,5")
    for number in (0, 1):
        same_products(tmp_path / "amplify" / "sweep" / f"{number}_all", undisturbed)


def test_a_run_of_four_extended_to_ten_is_a_run_of_ten(
    job: list[str], undisturbed: Path, tmp_path: Path, run_here: RunHere
) -> None:
    run = tmp_path / "amplify" / "run"
    for num_pairs in (4, PAIRS):
        run_here("run_amplify.py", *job, f"num_pairs={num_pairs}", f"paths.outputs={tmp_path}", "run_name=run")
        assert len(ok_rows(run)) == num_pairs == manifest(run).num_rows
    same_products(run, undisturbed)


def test_two_shards_make_the_pairs_of_one_run(job: list[str], tmp_path: Path, run_here: RunHere) -> None:
    where = [f"paths.outputs={tmp_path}", "num_pairs=null"]
    run_here("run_amplify.py", *job, *where, "run_name=one")
    one, two = tmp_path / "amplify" / "one", tmp_path / "amplify" / "two"
    for shard in (1, 0):
        assert not (two / "manifest.parquet").exists()
        run_here("run_amplify.py", *job, *where, "run_name=two", f"shard.index={shard}", "shard.count=2")
    same_products(two, one)
    assert len(ok_rows(one)) == USABLE


def test_a_shard_without_a_usable_picture_is_no_mistake(
    job: list[str], tmp_path: Path, photos: Path, run_here: RunHere
) -> None:
    (tmp_path / "two").mkdir()
    for name in ("astronaut.png", "bad/coffee.png"):
        shutil.copy(photos / name, tmp_path / "two")
    where = [f"dataset.root={tmp_path}/two", f"paths.outputs={tmp_path}", "num_pairs=null", "run_name=two"]
    for shard in (0, 1, 0, 1):  # the second time as launch=local goes on with a run
        run_here("run_amplify.py", *job, *where, f"shard.index={shard}", "shard.count=2")
    assert [row.status for row in read_rows(tmp_path / "amplify" / "two")].count("ok") == 1


def test_batch_sizes_differ_by_one_gray_level_in_a_thousandth_of_the_values(
    job: list[str], tmp_path: Path, run_here: RunHere
) -> None:
    where = ["num_pairs=6", f"paths.outputs={tmp_path}", "run_name=sizes"]
    run_here("run_amplify.py", "-m", *(key for key in job if key != "batch_size=2"), *where, "batch_size=1,8")
    one, eight = (tmp_path / "amplify" / "sizes" / folder for folder in ("0_all", "1_all"))
    rows = ok_rows(one)
    assert len(rows) == 6
    assert [(r.place, r.path, r.style) for r in rows] == [(r.place, r.path, r.style) for r in ok_rows(eight)]
    for row in rows:
        (source, target), (other_source, other_target) = pictures(one, row), pictures(eight, row)
        difference = np.abs(target.astype(int) - other_target)
        assert np.array_equal(source, other_source)
        assert difference.max() <= 1 and (difference > 0).mean() < 0.001


def test_a_finished_run_started_again_makes_nothing(
    job: list[str], copied: Path, tmp_path: Path, run_here: RunHere, capsys: pytest.CaptureFixture[str]
) -> None:
    before = products(copied)
    times = {file: file.stat().st_mtime_ns for file in (copied / "amplified_data" / "target").iterdir()}
    run_here("run_amplify.py", *job, f"num_pairs={PAIRS}", f"paths.outputs={tmp_path}", "run_name=latest")
    assert "0 made now" in capsys.readouterr().out
    run_here("run_amplify.py", *job, f"num_pairs={PAIRS - 3}", f"paths.outputs={tmp_path}", "run_name=latest")
    assert f"num_pairs={PAIRS - 3}: the run has {PAIRS} already" in capsys.readouterr().out
    assert products(copied) == before and {file: file.stat().st_mtime_ns for file in times} == times


def test_a_picture_that_was_deleted_is_made_again(
    job: list[str], copied: Path, undisturbed: Path, tmp_path: Path, run_here: RunHere
) -> None:
    gone = ok_rows(copied)[3].name
    (copied / "amplified_data" / "target" / gone).unlink()
    run_here("run_amplify.py", *job, f"num_pairs={PAIRS}", f"paths.outputs={tmp_path}", "run_name=run")
    same_products(copied, undisturbed)


# --- Settings that show ----------------------------------------------------------------------------------


def test_zero_strength_copies_the_sources(job: list[str], tmp_path: Path, run_here: RunHere) -> None:
    run_here("run_amplify.py", *job, "strength.makeup=0", "num_pairs=3", f"paths.outputs={tmp_path}", "run_name=off")
    run = tmp_path / "amplify" / "off"
    assert len(ok_rows(run)) == 3
    for row in ok_rows(run):
        source, target = pictures(run, row)
        assert np.array_equal(source, target) and row.measures["makeup_change"] == 0


def test_every_style_of_a_face_starts_from_the_same_source(job: list[str], tmp_path: Path, run_here: RunHere) -> None:
    where = [f"paths.outputs={tmp_path}", "run_name=all"]
    run_here("run_amplify.py", *job, "style_assignment=all", "num_pairs=5", *where)
    run = tmp_path / "amplify" / "all"
    rows = ok_rows(run)
    assert len({row.style for row in rows}) == 5 and len({row.content_hash for row in rows}) == 1
    pairs = [pictures(run, row) for row in rows]
    assert all(np.array_equal(source, pairs[0][0]) for source, _ in pairs)
    assert len({target.tobytes() for _, target in pairs}) == 5


def test_a_mix_of_styles_by_region_is_painted(job: list[str], tmp_path: Path, run_here: RunHere) -> None:
    where = [f"paths.outputs={tmp_path}", "num_pairs=1"]
    run_here("run_amplify.py", *job, *where, "experiment=mix", "run_name=mix")
    run_here("run_amplify.py", *job, *where, "style_set=natural", "run_name=plain")
    (mix,), (plain,) = (ok_rows(tmp_path / "amplify" / name) for name in ("mix", "plain"))
    assert mix.style == "Evening mix" and mix.content_hash == plain.content_hash
    painted = [pictures(tmp_path / "amplify" / name, row)[1] for name, row in (("mix", mix), ("plain", plain))]
    assert not np.array_equal(*painted)


def test_all_faces_of_a_picture_become_pairs(
    tmp_path: Path, tiny_checkpoint: Path, astronaut: np.ndarray, hopper: np.ndarray, run_here: RunHere
) -> None:
    both = np.zeros((len(hopper), 1024, 3), np.uint8)
    both[:512, :512], both[:, 512:] = astronaut, hopper
    (tmp_path / "couples").mkdir()
    Image.fromarray(both).save(tmp_path / "couples" / "couple.png")
    arguments = [
        "dataset=folder", f"dataset.root={tmp_path}/couples", f"model.checkpoint={tiny_checkpoint}", "batch_size=2",
        f"paths.outputs={tmp_path}",
    ]  # fmt: skip
    run_here("run_amplify.py", *arguments, "faces=all", "run_name=all")
    rows = ok_rows(tmp_path / "amplify" / "all")
    assert [(row.face, row.name) for row in rows] == [(0, "image_0000.png"), (1, "image_0000_1.png")]
    assert rows[0].content_hash != rows[1].content_hash
    gone = tmp_path / "amplify" / "all" / "amplified_data" / "target" / "image_0000_1.png"
    gone.unlink()
    run_here("run_amplify.py", *arguments, "faces=all", "run_name=all")
    assert gone.is_file() and ok_rows(tmp_path / "amplify" / "all") == rows
    Image.fromarray(astronaut).save(tmp_path / "couples" / "couple.png")  # when it is tried again, one face is found
    gone.unlink()
    run_here("run_amplify.py", *arguments, "faces=all", "run_name=all")
    assert [row.name for row in ok_rows(tmp_path / "amplify" / "all")] == ["image_0000.png"]
    assert [file.name for file in gone.parent.with_name("source").glob("*.png")] == ["image_0000.png"]
    Image.fromarray(both).save(tmp_path / "couples" / "couple.png")
    with pytest.raises(SystemExit, match="no pair was made"):
        run_here("run_amplify.py", *arguments, "faces=reject", "run_name=reject")
    (row,) = read_rows(tmp_path / "amplify" / "reject")
    assert row.reason.startswith("several faces: 2 in the picture")


def test_a_dry_run_tells_the_plan_and_makes_nothing(
    job: list[str], tmp_path: Path, run_here: RunHere, snapshot: Snapshot, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    run_here("run_amplify.py", *job, "dry_run=true", "num_pairs=7", f"paths.outputs={tmp_path}/out", "run_name=dry")
    told = " ".join(capsys.readouterr().out.split())
    assert "12 pictures" in told and "styles 5" in told and "7 wanted of 60" in told and "to make 7" in told
    assert [name for name, data in snapshot(tmp_path / "out").items() if data is not None] == []


def test_a_dry_run_of_a_begun_run_knows_what_is_done_and_leaves_it_alone(
    job: list[str], copied: Path, tmp_path: Path, run_here: RunHere, snapshot: Snapshot,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    before = snapshot(copied)
    run_here("run_amplify.py", *job, "dry_run=true", "num_pairs=25", f"paths.outputs={tmp_path}", "run_name=run")
    told = " ".join(capsys.readouterr().out.split())
    assert f"done {PAIRS} already" in told and f"to make {25 - PAIRS}" in told
    assert f"to make {25 - PAIRS} {len(read_rows(copied))}: " in told  # the first that was not tried
    assert snapshot(copied) == before


def test_a_dry_run_counts_pairs_whose_pictures_are_gone(
    job: list[str], copied: Path, tmp_path: Path, run_here: RunHere, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = ok_rows(copied)[3]
    (copied / "amplified_data" / "target" / gone.name).unlink()
    run_here("run_amplify.py", *job, "dry_run=true", f"num_pairs={PAIRS}", f"paths.outputs={tmp_path}", "run_name=run")
    told = " ".join(capsys.readouterr().out.split())
    assert f"done {PAIRS - 1} already" in told and f"to make 1 {gone.place}: {gone.path}, {gone.style}" in told


def test_a_shard_that_runs_out_of_pictures_is_told_apart_from_a_plan_that_does(
    job: list[str], photos: Path, tmp_path: Path, run_here: RunHere, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two pictures in five styles and two shards, one picture shows no face; its shard cannot take the other's."""
    (tmp_path / "few").mkdir()
    shutil.copy(photos / "hopper.jpg", tmp_path / "few")
    shutil.copy(photos / "bad" / "coffee.png", tmp_path / "few")
    few = [*job, f"dataset.root={tmp_path}/few", f"paths.outputs={tmp_path}", "run_name=few", "num_pairs=4"]
    for index in (0, 1):
        run_here("run_amplify.py", *few, "shard.count=2", f"shard.index={index}")
    told = " ".join(capsys.readouterr().out.split())
    assert "num_pairs=4: only 2 could be made; a shard replaces pictures that cannot be used by its own ones" in told


def test_a_picture_that_somebody_deleted_is_not_missed_by_the_other_shards(
    job: list[str], tmp_path: Path, run_here: RunHere
) -> None:
    run = tmp_path / "amplify" / "run"
    shards = [*job, "num_pairs=6", "shard.count=2", f"paths.outputs={tmp_path}", "run_name=run"]
    for index in (0, 1):
        run_here("run_amplify.py", *shards, f"shard.index={index}")
    gone = ok_rows(run)[0]
    (run / "amplified_data" / "source" / gone.name).unlink()
    (run / "amplified_data" / "samples_visualization.png").unlink()
    of_first = gone.name in (run / "journal-0of2.jsonl").read_text(encoding="utf-8")
    run_here("run_amplify.py", *shards, f"shard.index={int(of_first)}")
    assert (run / "amplified_data" / "samples_visualization.png").exists()


def test_more_pairs_than_there_are_is_told_before_and_after(
    job: list[str], photos: Path, tmp_path: Path, run_here: RunHere, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "few").mkdir()
    shutil.copy(photos / "hopper.jpg", tmp_path / "few")
    few = [*job, f"dataset.root={tmp_path}/few", f"paths.outputs={tmp_path}", "run_name=few", "num_pairs=9"]
    run_here("run_amplify.py", *few, "dry_run=true")
    assert "5 wanted of 5 that the plan holds, fewer than num_pairs" in " ".join(capsys.readouterr().out.split())
    run_here("run_amplify.py", *few)
    assert "num_pairs=9: only 5 could be made; the pictures give no more" in " ".join(capsys.readouterr().out.split())
    run_here("run_amplify.py", *few, "dry_run=true")
    assert " ".join(capsys.readouterr().out.split()).endswith("to make 0")


@pytest.mark.parametrize("experiment", [file.stem for file in (ROOT / "conf" / "experiment").glob("*.yaml")])
def test_every_experiment_can_be_planned(
    experiment: str, photos: Path, tmp_path: Path, run_here: RunHere, capsys: pytest.CaptureFixture[str]
) -> None:
    faces = ["dataset=folder", f"dataset.root={photos}"]  # FFHQ is not here
    run_here("run_amplify.py", f"experiment={experiment}", *faces, "dry_run=true", f"paths.outputs={tmp_path}/out")
    assert "to make" in capsys.readouterr().out
    assert not [file for file in (tmp_path / "out").rglob("*") if file.is_file()]
