import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from dda.errors import UserError
from dda.pairs.journal import Journal, PairRow
from dda.pairs.manifest import read_rows, write_manifest
from dda.pairs.writer import PairWriter, pair_name


def _row(place: int, status: str = "ok", reason: str = "", face: int = 0, **measures: float) -> PairRow:
    name = pair_name(place, face) if status == "ok" else ""
    return PairRow(
        place,
        face,
        f"얼굴, {place}.jpg",
        "Smokey eyes",
        0,
        status,
        "write",
        reason,
        name,
        "ab" * 32,
        measures,
    )


ROWS = [
    _row(4, change=0.5),
    _row(0, change=0.25, area=3.0),
    _row(2, "rejected", "no face found"),
    _row(3, "failed", "disk full"),
    _row(0, face=1),
    _row(5, "rejected", "no face found"),
]


def test_finished_pairs_in_order_with_their_measures(tmp_path: Path) -> None:
    with Journal(tmp_path, 0, 1) as journal:
        journal.append(ROWS)
    table = write_manifest(tmp_path)
    assert pq.read_table(tmp_path / "manifest.parquet").equals(table)
    assert table.column_names == [
        "place", "face", "path", "style", "name", "source", "target", "content_hash", "attempt",
        "area", "change",
    ]  # fmt: skip
    assert list(zip(table["place"].to_pylist(), table["face"].to_pylist(), strict=True)) == [
        (0, 0),
        (0, 1),
        (4, 0),
    ]
    assert table["change"].to_pylist() == [0.25, None, 0.5]
    assert table["path"].to_pylist()[0] == "얼굴, 0.jpg"
    assert table["target"].to_pylist()[1] == "amplified_data/target/image_0000_1.png"


def test_metadata_names_the_files_relative_to_itself(tmp_path: Path) -> None:
    with Journal(tmp_path, 0, 1) as journal:
        journal.append(ROWS)
    picture = np.zeros((8, 8, 3), np.uint8)
    for row in ROWS:
        if row.status == "ok":
            PairWriter(tmp_path).write(row.name, picture, picture)
    write_manifest(tmp_path)
    file = tmp_path / "amplified_data" / "metadata.csv"
    with file.open(newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    assert (lines[0]["path"], lines[0]["style"]) == ("얼굴, 0.jpg", "Smokey eyes")
    assert all((file.parent / line[f"{kind}_file_name"]).is_file() for line in lines for kind in ("source", "target"))
    assert [line["change"] for line in lines] == ["0.25", "", "0.5"]


def test_it_loads_as_a_hugging_face_image_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the datasets package is not installed")
    writer = PairWriter(tmp_path)
    with Journal(tmp_path, 0, 1) as journal:
        for place in range(3):
            row = _row(place)
            writer.write(row.name, np.full((8, 8, 3), place, np.uint8), np.full((8, 8, 3), 9, np.uint8))
            journal.append([row])
    write_manifest(tmp_path)
    data_dir, cache = str(tmp_path / "amplified_data"), str(tmp_path / "cache")
    pairs = datasets.load_dataset("imagefolder", data_dir=data_dir, cache_dir=cache, split="train")
    assert len(pairs) == 3 and pairs["style"] == ["Smokey eyes"] * 3
    assert [np.asarray(pair["source"])[0, 0, 0] for pair in pairs] == [0, 1, 2]
    assert [np.asarray(pair["target"])[0, 0, 0] for pair in pairs] == [9, 9, 9]


def test_the_order_of_work_and_the_shards_do_not_show(tmp_path: Path) -> None:
    one, two, interrupted = (tmp_path / name for name in ("one", "two", "interrupted"))
    with Journal(one, 0, 1) as journal:
        journal.append(ROWS)
    with Journal(two, 0, 2) as first, Journal(two, 1, 2) as second:
        second.append(row for row in reversed(ROWS) if row.place % 2 == 0)
        first.append(row for row in ROWS if row.place % 2)
    with Journal(interrupted, 0, 1) as journal:
        journal.append([replace(ROWS[0], status="failed", name="", measures={})])
        journal.append(ROWS[::-1])
    for run in (one, two, interrupted):
        write_manifest(run)
    for file in ("manifest.parquet", "amplified_data/metadata.csv"):
        assert (one / file).read_bytes() == (two / file).read_bytes() == (interrupted / file).read_bytes()


def test_writing_twice_changes_nothing_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with Journal(tmp_path, 0, 1) as journal:
        journal.append(ROWS)
    write_manifest(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    write_manifest(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_run_without_finished_pairs_has_an_empty_manifest(tmp_path: Path) -> None:
    with Journal(tmp_path, 0, 1) as journal:
        journal.append([_row(0, "rejected", "no face found")])
    assert write_manifest(tmp_path).num_rows == 0
    header = (tmp_path / "amplified_data" / "metadata.csv").read_text()
    assert header.startswith("source_file_name,target_file_name,place,") and header.count("\n") == 1


def test_names_that_are_not_utf8_are_shown_escaped(tmp_path: Path) -> None:
    with Journal(tmp_path, 0, 1) as journal:
        journal.append([replace(_row(0), path="\udcbb.png")])
    assert write_manifest(tmp_path)["path"].to_pylist() == ["\\udcbb.png"]


def test_read_rows_joins_shards_and_names_a_damaged_one(tmp_path: Path) -> None:
    with Journal(tmp_path, 0, 2) as first, Journal(tmp_path, 1, 2) as second:
        first.append([_row(4)])
        second.append([_row(1)])
    assert [row.place for row in read_rows(tmp_path)] == [1, 4]
    with (tmp_path / "journal-1of2.jsonl").open("a") as stream:
        stream.write("{}\n")
    with pytest.raises(UserError, match=r"journal-1of2\.jsonl:2"):
        write_manifest(tmp_path)
    assert not (tmp_path / "manifest.parquet").exists()
