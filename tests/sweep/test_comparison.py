"""The comparison of a sweep's jobs: which faces are shown, and the table's lines."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dda.pairs.journal import PairRow
from dda.pairs.writer import PairWriter, pair_name
from dda.sweep.comparison import shared_faces, summary_csv
from dda.sweep.jobs import Job


def make_job(folder: Path, pairs: Sequence[tuple[str, str]]) -> Job:
    """A job that made pairs of (path, style); the target of each is its place, as a gray."""
    writer, rows = PairWriter(folder), []
    for place, (path, style) in enumerate(pairs):
        rows.append(
            PairRow(place, 0, path, style, 0, "ok", "", "", pair_name(place, 0), "", {"background_pixels": 0.0})
        )
        gray = np.full((8, 8, 3), place, np.uint8)
        writer.write(rows[-1].name, np.zeros_like(gray), gray)
    return Job(folder, {}, folder.name, "", rows, None)


def test_pairs_of_the_same_style_are_compared_where_there_are_enough(tmp_path: Path) -> None:
    paths = [f"{number}.png" for number in range(4)]
    one = make_job(tmp_path / "one", [(path, style) for path in paths for style in ("A", "B")])
    other = make_job(tmp_path / "other", [(path, style) for style in ("B", "A") for path in paths])
    blocks = shared_faces([one, other])
    assert sorted(blocks) == ["A", "B"] and [len(rows) for rows in blocks.values()] == [3, 3]
    for style, rows in blocks.items():
        for row in rows:
            first, second = (int(row.targets[job][0, 0, 0]) for job in ("one", "other"))
            assert one.rows[first].path == other.rows[second].path
            assert one.rows[first].style == other.rows[second].style == style


def test_faces_in_another_style_are_compared_where_the_styles_differ(tmp_path: Path) -> None:
    paths = [f"{number}.png" for number in range(8)]
    jobs = [make_job(tmp_path / style, [(path, style) for path in paths]) for style in "ABC"]
    (rows,) = shared_faces(jobs).values()
    assert [[int(row.targets[style][0, 0, 0]) for style in "ABC"] for row in rows] == [[n] * 3 for n in range(6)]


def test_jobs_without_a_face_in_common_all_have_rows(tmp_path: Path) -> None:
    jobs = [make_job(tmp_path / name, [(f"{name}{number}.png", "A") for number in range(9)]) for name in "xyz"]
    (rows,) = shared_faces(jobs).values()
    assert sorted(job for row in rows for job in row.targets) == ["x", "x", "y", "y", "z", "z"]


def test_a_job_that_made_nothing_is_an_empty_line(tmp_path: Path) -> None:
    jobs = [make_job(tmp_path / "a, b", [("1.png", "A")]), make_job(tmp_path / "none", [])]
    header, made, nothing = csv.reader(summary_csv(jobs).decode().splitlines())
    assert dict(zip(header, made, strict=True))["job"] == "a, b"
    assert nothing == ["none", "", "0", "0", "0", "", "", "", "", ""]
