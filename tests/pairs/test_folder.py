import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dda.errors import UserError
from dda.merge import merge
from dda.pairs.folder import PairFiles, choose_pairs, find_pairs, find_run_pairs
from dda.pairs.journal import Journal

Save = Callable[..., Path]
SIDES = {"source": "NFC", "target": "NFD"}


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """``save("source/a.png", "target/a.jpg")``: small pictures under tmp_path/pairs."""

    def write(*paths: str, root: str = "pairs") -> Path:
        for path in paths:
            file = tmp_path / root / path
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(file)
        return tmp_path / root

    return write


def by_name(pairs: list[PairFiles]) -> dict[str, PairFiles]:
    return {pair.name: pair for pair in pairs}


def test_pictures_are_matched_by_relative_path_whatever_their_format(save: Save) -> None:
    root = save("source/a.png", "target/a.jpg", "source/사진/b.1.webp", "target/사진/b.1.png", "source/.hidden.png")
    (root / "source" / "notes.txt").write_text("no picture")

    pairs = find_pairs(root)

    assert [(p.name, p.source, p.target, p.reason) for p in pairs] == [
        ("a", root / "source/a.png", root / "target/a.jpg", ""),
        ("사진/b.1", root / "source/사진/b.1.webp", root / "target/사진/b.1.png", ""),
    ]


def test_a_name_as_a_mac_writes_it_is_the_same_name(save: Save) -> None:
    root = save(*(f"{side}/" + unicodedata.normalize(form, "민지 é.png") for side, form in SIDES.items()))
    (pair,) = find_pairs(root)
    assert (pair.name, pair.reason) == (unicodedata.normalize("NFC", "민지 é"), "")


def test_what_has_no_counterpart_is_a_pair_with_a_reason(save: Save) -> None:
    root = save("source/both.png", "target/both.png", "source/left.png", "target/right.png")
    save("source/twice.png", "source/twice.jpg", "target/twice.png")

    reasons = {pair.name: pair.reason for pair in find_pairs(root)}

    assert reasons == {
        "both": "",
        "left": "no target of this name",
        "right": "no source of this name",
        "twice": "several sources of this name: twice.jpg, twice.png",
    }


def test_a_missing_or_empty_folder_is_one_clear_line(tmp_path: Path, save: Save) -> None:
    with pytest.raises(UserError, match=r"there is no folder .*source: pairs lie in DIR/source and DIR/target"):
        find_pairs(tmp_path)
    for side in ("source", "target"):
        (tmp_path / "empty" / side).mkdir(parents=True)
    with pytest.raises(UserError, match=r"no pictures in .*empty/source and .*empty/target"):
        find_pairs(tmp_path / "empty")


def test_styles_and_measures_come_from_metadata(save: Save) -> None:
    root = save("source/a.png", "target/a.png", "source/b.png", "target/b.png")
    (root / "metadata.csv").write_text(
        "source_file_name,target_file_name,place,style,caption,makeup_change,skipped\n"
        "source/a.png,target/a.png,7,Red lip,first,0.25,3\n"
        "source/gone.png,target/gone.png,8,Red lip,last,0.5,\n"
    )

    pairs = by_name(find_pairs(root))

    assert (pairs["a"].style, dict(pairs["a"].made)) == ("Red lip", {"makeup_change": 0.25, "skipped": 3.0})
    assert (pairs["b"].style, dict(pairs["b"].made)) == ("", {})
    assert pairs["gone"].reason == "no source of this name; no target of this name"
    assert (pairs["gone"].style, dict(pairs["gone"].made)) == ("Red lip", {"makeup_change": 0.5})


def test_names_and_styles_that_look_like_numbers_stay_as_they_are(save: Save) -> None:
    root = save("source/0001.png", "target/0001.png", "source/0002.png", "target/0002.png")
    (root / "metadata.csv").write_text("source_file_name,style\n0001.png,0\nsource/0002.png,007\n")
    assert [(pair.name, pair.style, pair.reason) for pair in find_pairs(root)] == [
        ("0001", "0", ""),
        ("0002", "007", ""),
    ]


def test_pairs_in_several_styles_do_not_share_a_truth(save: Save) -> None:
    root = save("source/image_0000.png", "target/image_0000.png", "source/image_0001.png", "target/image_0001.png")
    (root / "metadata.csv").write_text(
        "source_file_name,style,path\nsource/image_0000.png,Red,anna.jpg\nsource/image_0001.png,Smokey,anna.jpg\n"
    )
    with pytest.raises(UserError, match=r"anna\.png has the name of a picture that was made up in several styles"):
        find_pairs(root, save("anna.png", root="of pictures"))
    truths = [pair.oracle for pair in find_pairs(root, save("image_0001.png", root="of pairs"))]
    assert [truth and truth.name for truth in truths] == [None, "image_0001.png"]


@pytest.mark.parametrize("table", ["file,style\na.png,Red\n", "source_file_name,style\na,b,c\n"])
def test_a_metadata_file_of_another_kind_is_refused(save: Save, table: str) -> None:
    root = save("source/a.png", "target/a.png")
    (root / "metadata.csv").write_text(table)
    with pytest.raises(UserError, match=r"metadata\.csv: "):
        find_pairs(root)


@pytest.mark.parametrize("table", ["source_file_name,스타일\na.png,Red\n", "source_file_name,style\na.png,은은한\n"])
def test_a_metadata_file_in_another_encoding_is_refused(save: Save, table: str) -> None:
    root = save("source/a.png", "target/a.png")
    (root / "metadata.csv").write_bytes(table.encode("cp949"))
    with pytest.raises(UserError, match=r"metadata\.csv: .*UTF-?8"):
        find_pairs(root)


@pytest.mark.parametrize("name", ["", "source", "source/"])
def test_a_row_without_a_file_name_is_refused(save: Save, name: str) -> None:
    root = save("source/a.png", "target/a.png")
    (root / "metadata.csv").write_text(f"source_file_name,style\nsource/a.png,Red\n{name},Blue\n")
    with pytest.raises(UserError, match=r"metadata\.csv: row 3 has no source_file_name"):
        find_pairs(root)


def test_a_run_tells_its_styles_and_measures(undisturbed: Path) -> None:
    pairs = find_run_pairs(undisturbed)

    rows = pq.read_table(undisturbed / "manifest.parquet").to_pylist()
    assert len(pairs) == len(rows) == 10
    found = by_name(pairs)
    for row in rows:
        pair = found[Path(row["name"]).stem]
        assert (pair.style, pair.path, pair.reason) == (row["style"], row["path"], "")
        assert pair.source == undisturbed / row["source"]
        assert dict(pair.made)["makeup_change"] == row["makeup_change"]
        assert "place" not in pair.made and "background_pixels" in pair.made
    assert [pair.made for pair in find_pairs(undisturbed / "amplified_data")] == [pair.made for pair in pairs]


def test_truths_of_photos_that_were_cropped_are_warned_of(
    copied: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    truths = {file.name for file in (copied / "amplified_data" / "target").glob("*.png")}
    find_run_pairs(copied, copied / "amplified_data" / "target")
    assert truths and not caplog.messages
    one = pq.read_table(copied / "manifest.parquet").slice(0, 1)
    pq.write_table(one, copied / "manifest.parquet")
    photo = one.column("path")[0].as_py()
    (tmp_path / "truths").mkdir()
    Image.new("RGB", (512, 512)).save(tmp_path / "truths" / f"{Path(photo).stem}.png")
    pairs = find_run_pairs(copied, tmp_path / "truths")
    assert sum(pair.oracle is not None for pair in pairs) == 1
    assert "amplify with dataset.align=none" in caplog.text


def test_a_lost_file_of_a_run_is_a_pair_with_a_reason(copied: Path) -> None:
    lost = sorted((copied / "amplified_data" / "target").glob("*.png"))[0]
    lost.unlink()
    pairs = by_name(find_run_pairs(copied))
    assert len(pairs) == 10
    assert pairs[lost.stem].reason == "no target of this name"


def test_what_an_unfinished_extension_made_is_no_pair_yet(copied: Path) -> None:
    for side in ("source", "target"):
        folder = copied / "amplified_data" / side
        shutil.copy(next(folder.glob("*.png")), folder / "image_9999.png")
    assert len(find_run_pairs(copied)) == 10


def test_the_jobs_of_a_multirun_are_taken_together(undisturbed: Path, tmp_path: Path) -> None:
    for job in ("0_natural", "1_red_lip"):
        (tmp_path / job).symlink_to(undisturbed)
    names = [pair.name for pair in find_run_pairs(tmp_path)]
    alone = [pair.name for pair in find_run_pairs(undisturbed)]
    assert names == [f"{job}/{name}" for job in ("0_natural", "1_red_lip") for name in alone]


def test_jobs_of_a_multirun_that_are_not_finished_are_named(
    undisturbed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "0_natural").symlink_to(undisturbed)
    (tmp_path / "notes").mkdir()
    assert len(find_run_pairs(tmp_path)) == 10 and not caplog.messages
    for job in ("1_red_lip", "2_korean"):
        (tmp_path / job).mkdir()
        shutil.copy(undisturbed / "journal-0of1.jsonl", tmp_path / job)
    assert {pair.name.split("/")[0] for pair in find_run_pairs(tmp_path)} == {"0_natural"}
    assert caplog.messages == [
        f"run={tmp_path}: 2 of 3 jobs have no manifest.parquet and are left out: 1_red_lip, 2_korean; "
        "to finish them give their multirun again, with the same run_name"
    ]


def test_jobs_of_a_multirun_that_made_no_pair_are_named(
    undisturbed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    empty = tmp_path / "1_red_lip"
    with Journal(empty, 0, 1) as journal:
        journal.finish(num_pairs=None, pairs_per_second=None)
    merge(empty)
    with pytest.raises(UserError, match="none of its 1 jobs made a pair"):
        find_run_pairs(tmp_path)
    (tmp_path / "0_natural").symlink_to(undisturbed)
    assert {pair.name.split("/")[0] for pair in find_run_pairs(tmp_path)} == {"0_natural"}
    assert caplog.messages == [f"run={tmp_path}: jobs that made no pair are left out: 1_red_lip"]


def test_a_folder_that_is_no_run_is_refused(save: Save) -> None:
    with pytest.raises(UserError, match=r"run=.*manifest\.parquet.*pairs=DIR"):
        find_run_pairs(save("source/a.png", "target/a.png"))


def test_the_oracle_is_found_by_the_pairs_name_or_by_the_name_of_its_source(save: Save, tmp_path: Path) -> None:
    root = save("amplified_data/source/image_0.png", "amplified_data/target/image_0.png", root="run")
    save("amplified_data/source/image_1.png", "amplified_data/target/image_1.png", root="run")
    names = ["image_0.png", "image_1.png"]
    pq.write_table(pa.table({"name": names, "path": ["faces/006.jpg", "007.jpg"]}), root / "manifest.parquet")
    truth = save("target/faces/006.png", "source/faces/006.png", root="truth")

    pairs = find_run_pairs(root, truth)

    assert [pair.oracle for pair in pairs] == [truth / "target/faces/006.png", None]
    plain = find_run_pairs(root, save("image_1.png", root="plain"))
    assert [pair.oracle for pair in plain] == [None, tmp_path / "plain/image_1.png"]
    with pytest.raises(UserError, match=r"oracle=.*none of its 1 pictures has the name of a pair, such as image_0"):
        find_run_pairs(root, save("stranger.png", root="strangers"))


def test_a_pair_to_which_two_true_targets_answer_is_refused(save: Save, tmp_path: Path) -> None:
    """A run on pictures that are called like pairs: image_0 was made from image_1."""
    root = save("amplified_data/source/image_0.png", "amplified_data/target/image_0.png", root="run")
    pq.write_table(pa.table({"name": ["image_0.png"], "path": ["image_1.png"]}), root / "manifest.parquet")
    (pair,) = find_run_pairs(root, save("image_0.png", "image_1.png", root="truth"))
    assert pair.reason == "several oracles of this name: image_0.png, image_1.png"
    (pair,) = find_run_pairs(root, save("image_1.png", root="by picture"))
    assert pair.oracle == tmp_path / "by picture/image_1.png" and not pair.reason


def make_files(count: int) -> list[PairFiles]:
    return [PairFiles(f"{index:03d}", Path("s"), Path("t")) for index in range(count)]


def test_the_choice_depends_on_the_seed_and_the_names_alone() -> None:
    pairs = make_files(100)
    chosen = choose_pairs(pairs, 10, seed=3)
    assert len(chosen) == 10 and chosen == [pair for pair in pairs if pair in chosen]
    assert choose_pairs(pairs[::-1], 10, seed=3) == chosen[::-1]
    assert choose_pairs(pairs, 10, seed=4) != chosen
    assert {p.name for p in chosen} < {p.name for p in choose_pairs(pairs, 20, seed=3)}
    assert choose_pairs(pairs, None, seed=3) == choose_pairs(pairs, 1000, seed=3) == pairs


def test_pairs_with_a_reason_are_always_told_and_never_counted() -> None:
    lost = PairFiles("lost", Path("s"), None, reason="no target of this name")
    chosen = choose_pairs([*make_files(20), lost], 5, seed=0)
    assert len(chosen) == 6 and chosen[-1] == lost
