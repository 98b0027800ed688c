import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dda.errors import UserError
from dda.pairs.journal import Journal, PairRow, find_journals, read_journal

ROW = PairRow(
    place=0,
    face=0,
    path="가족 사진/é.jpg",
    style="Smokey eyes",
    attempt=0,
    status="ok",
    stage="write",
    reason="",
    name="image_0000.png",
    content_hash="ab" * 32,
    measures={"seconds": 0.25},
)


def test_rows_come_back_sorted_and_the_latest_wins(tmp_path: Path) -> None:
    failed = replace(ROW, place=1, status="failed", name="", reason="disk full", measures={})
    with Journal(tmp_path, 0, 1) as journal:
        assert journal.rows == []
        journal.append([replace(ROW, place=3), failed, ROW, replace(ROW, face=1)])
        journal.append([replace(ROW, place=1)])
        expected = [ROW, replace(ROW, face=1), replace(ROW, place=1), replace(ROW, place=3)]
        assert journal.rows == expected
    with Journal(tmp_path, 0, 1) as journal:
        assert journal.rows == expected


def test_a_place_tried_again_keeps_no_row_of_the_try_before(tmp_path: Path) -> None:
    lost = replace(ROW, place=1, status="failed", stage="decode", name="")
    with Journal(tmp_path, 0, 1) as journal:
        journal.append([replace(ROW, place=place, face=face) for place in (0, 1, 2) for face in (0, 1, 2)])
        journal.append([lost])
        kept = journal.rows
    assert [(row.place, row.face) for row in kept] == [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1), (2, 2)]
    assert kept[3] == lost
    assert [row for _, row in sorted(read_journal(journal.file).rows.items())] == kept


def test_the_file_is_one_json_object_a_line_and_only_grows(tmp_path: Path) -> None:
    file = tmp_path / "journal-2of4.jsonl"
    with Journal(tmp_path, 2, 4) as journal:
        journal.append([ROW])
        first = file.read_bytes()
    with Journal(tmp_path, 2, 4) as journal:
        journal.append([replace(ROW, place=1)])
    assert file.read_bytes().startswith(first)
    lines = file.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["place"] for line in lines] == [0, 1]
    assert "가족 사진/é.jpg" in lines[0]


def test_odd_names_survive(tmp_path: Path) -> None:
    paths = ["new\nline\r.png", 'quote"back\\slash.png', "\udcbb\udce7.png", "\u2028.png", "🙂.png"]
    rows = [replace(ROW, place=place, path=path) for place, path in enumerate(paths)]
    with Journal(tmp_path, 0, 1) as journal:
        journal.append(rows)
    with Journal(tmp_path, 0, 1) as journal:
        assert journal.rows == rows
    (tmp_path / "journal-0of1.jsonl").read_text(encoding="utf-8")


@pytest.mark.parametrize("kept", [12, 50, -1])
def test_a_torn_last_line_is_dropped(tmp_path: Path, kept: int) -> None:
    file = tmp_path / "journal-0of1.jsonl"
    with Journal(tmp_path, 0, 1) as journal:
        journal.append([ROW, replace(ROW, place=1)])
    first, second = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + second[:kept])
    assert list(read_journal(file).rows) == [(0, 0)]
    assert file.read_bytes() == first + second[:kept]  # reading alone changes nothing
    with Journal(tmp_path, 0, 1) as journal:
        assert journal.rows == [ROW]
        journal.append([replace(ROW, place=2)])
    with Journal(tmp_path, 0, 1) as journal:
        assert [row.place for row in journal.rows] == [0, 2]


@pytest.mark.parametrize("kept", [3, 15, 50, -1])
def test_with_a_torn_last_line_go_the_other_faces_of_its_place(tmp_path: Path, kept: int) -> None:
    """Else a place would count as tried, and its last faces would never be made."""
    file = tmp_path / "journal-0of1.jsonl"
    with Journal(tmp_path, 0, 1) as journal:
        journal.append([ROW])
        journal.append([replace(ROW, place=1), replace(ROW, place=1, face=1), replace(ROW, place=1, face=2)])
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:3]) + lines[3][:kept])
    with Journal(tmp_path, 0, 1):
        pass  # killed before the place was made again
    with Journal(tmp_path, 0, 1) as journal:
        assert journal.rows == [ROW]
        again = [replace(ROW, place=1), replace(ROW, place=1, face=1)]
        journal.append(again)
        assert journal.rows == [ROW, *again]
    assert [*read_journal(file).rows] == [(0, 0), (1, 0), (1, 1)]


def test_a_torn_line_of_another_place_takes_nothing_with_it(tmp_path: Path) -> None:
    file = tmp_path / "journal-0of1.jsonl"
    with Journal(tmp_path, 0, 1) as journal:
        journal.append([ROW, replace(ROW, face=1), replace(ROW, place=10)])
    file.write_bytes(file.read_bytes()[:-5])
    assert [*read_journal(file).rows] == [(0, 0), (0, 1)]


@pytest.mark.parametrize("damaged", ["{", "5", "[]", '{"place": 1}', '{"finished": true}', "\0\0", '"\udcff"'])
def test_a_damaged_line_elsewhere_is_named(tmp_path: Path, damaged: str) -> None:
    file = tmp_path / "journal-0of1.jsonl"
    with Journal(tmp_path, 0, 1) as journal:
        journal.append([ROW, replace(ROW, place=1)])
    first, second = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(first + damaged.encode("utf-8", "surrogateescape") + b"\n" + second)
    before = file.read_bytes()
    for _ in range(2):  # and the lock is free again
        with pytest.raises(UserError, match=r"journal-0of1\.jsonl:2: damaged line"), Journal(tmp_path, 0, 1):
            pass
    assert file.read_bytes() == before


def test_an_unknown_status_is_refused() -> None:
    with pytest.raises(ValueError, match="allowed are ok, rejected, failed"):
        replace(ROW, status="skipped")


def test_the_finish_mark_lasts_until_the_next_row(tmp_path: Path) -> None:
    file = tmp_path / "journal-0of1.jsonl"
    with Journal(tmp_path, 0, 1) as journal:
        journal.append([ROW])
        assert not read_journal(file).finished
        journal.finish(10, 6.5)
        assert (read_journal(file).finished, read_journal(file).num_pairs) == (True, 10)
        size = file.stat().st_size
        journal.finish(10, None)
        assert file.stat().st_size == size
        journal.finish(None, None)
        assert (read_journal(file).finished, read_journal(file).num_pairs) == (True, None)
        journal.append([replace(ROW, place=1)])
        assert not read_journal(file).finished
        assert read_journal(file).pairs_per_second == 6.5  # of the latest start that made pairs
    with Journal(tmp_path, 0, 1) as journal:
        assert len(journal.rows) == 2


def test_a_failed_append_leaves_no_half_line(tmp_path: Path) -> None:
    """The system itself refuses to let the file grow, as it does on a full disk."""
    program = (
        "import resource, signal, sys\n"
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "from dda.pairs.journal import Journal, PairRow\n"
        f"row = {ROW!r}\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "with Journal(Path(sys.argv[1]), 0, 1) as journal:\n"
        "    journal.append([row])\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))\n"
        "    try:\n"
        "        journal.append([replace(row, place=place) for place in range(1, 5)])\n"
        "    except OSError:\n"
        "        print('refused', len(journal.rows))\n"
        "    journal.append([replace(row, place=9)])\n"
    )
    run = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True)
    assert run.stdout == "refused 1\n", run.stderr
    assert [place for place, _ in read_journal(tmp_path / "journal-0of1.jsonl").rows] == [0, 9]


def test_a_second_process_is_refused_and_shards_do_not_meet(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from dda.pairs.journal import Journal\n"
        "with Journal(Path(sys.argv[1]), int(sys.argv[2]), 2):\n"
        "    print('open')\n"
    )

    def open_elsewhere(index: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, str(tmp_path), str(index)]
        return subprocess.run(command, capture_output=True, text=True)

    with Journal(tmp_path, 0, 2) as journal:
        journal.append([ROW])
        assert "UserError" in open_elsewhere(0).stderr
        assert open_elsewhere(1).stdout == "open\n"
        assert journal.rows == [ROW]
    assert open_elsewhere(0).stdout == "open\n"


def test_the_shard_count_of_a_run_cannot_change(tmp_path: Path) -> None:
    with Journal(tmp_path, 0, 2) as journal:
        journal.append([ROW])
    with (
        pytest.raises(UserError, match=r"shard\.count is 4, but .* was begun with 2"),
        Journal(tmp_path, 0, 4),
    ):
        pass
    assert sorted(file.name for file in tmp_path.glob("*.jsonl")) == ["journal-0of2.jsonl"]
    (tmp_path / "journal-0of4.jsonl").touch()
    with pytest.raises(UserError, match=r"journals of different shard\.count \(2, 4\)"):
        find_journals(tmp_path)


def test_killed_while_appending_loses_at_most_the_last_batch_and_the_place_before(tmp_path: Path) -> None:
    """Of a line torn within its number nobody can tell whether it was another face of the place before."""
    program = (
        "import sys\n"
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "from dda.pairs.journal import Journal, PairRow\n"
        f"row = {ROW!r}\n"
        "with Journal(Path(sys.argv[1]), 0, 1) as journal:\n"
        "    place = len(journal.rows)\n"
        "    while True:\n"
        "        journal.append([replace(row, place=place), replace(row, place=place + 1)])\n"
        "        place += 2\n"
        "        print(place, flush=True)\n"
    )
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(0.05)
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged = int(writer.stdout.read().splitlines()[-1])
        writer.wait()
        with Journal(tmp_path, 0, 1) as journal:
            places = [row.place for row in journal.rows]
            assert places == list(range(len(places)))
            assert acknowledged - 1 <= len(places) <= acknowledged + 2
            if len(places) % 2:
                journal.append([replace(ROW, place=len(places))])
