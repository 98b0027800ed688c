import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from dda.files import write_atomically
from dda.images import read_image
from dda.pairs.writer import PairWriter, pair_exists, pair_name
from dda.png import encode_png


def _picture(seed: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)


def test_names() -> None:
    assert pair_name(3, 0) == "image_0003.png"
    assert pair_name(3, 1) == "image_0003_1.png"
    assert pair_name(123456, 0) == "image_123456.png"


def test_both_pictures_are_written_under_one_name(tmp_path: Path) -> None:
    writer = PairWriter(tmp_path)
    assert not pair_exists(tmp_path, "image_0000.png")
    writer.write("image_0000.png", _picture(0), _picture(1))
    assert pair_exists(tmp_path, "image_0000.png")
    data = tmp_path / "amplified_data"
    assert np.array_equal(read_image(data / "source" / "image_0000.png"), _picture(0))
    assert np.array_equal(read_image(data / "target" / "image_0000.png"), _picture(1))
    assert sorted(path.name for path in data.rglob("*")) == [
        "image_0000.png",
        "image_0000.png",
        "source",
        "target",
    ]


def test_a_source_encoded_before_is_used(tmp_path: Path) -> None:
    encoded = encode_png(_picture(2))  # told from the picture by being of another
    PairWriter(tmp_path).write("image_0000.png", _picture(0), _picture(1), encoded)
    assert (tmp_path / "amplified_data" / "source" / "image_0000.png").read_bytes() == encoded


def test_pictures_of_different_size_are_no_pair(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"source is \(32, 32, 3\), target is \(16, 16, 3\)"):
        PairWriter(tmp_path).write("image_0000.png", _picture(0), _picture(1, 16))
    assert not list((tmp_path / "amplified_data").rglob("*.png"))


def test_writing_again_replaces(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"old and long")
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_threads_share_a_writer(tmp_path: Path) -> None:
    writer = PairWriter(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: writer.write(pair_name(i, 0), _picture(i), _picture(i + 1)), range(16)))
    for place in range(16):
        written = read_image(tmp_path / "amplified_data" / "target" / pair_name(place, 0))
        assert np.array_equal(written, _picture(place + 1))


def test_opening_removes_only_what_the_own_shard_left(tmp_path: Path) -> None:
    PairWriter(tmp_path, "1").write("image_0000.png", _picture(0), _picture(1))
    source = tmp_path / "amplified_data" / "source"
    mine = (".image_0001.png.1.tmp", ".image_0004.png.1-a1-4711.tmp")  # the second: of a process that worked for it
    for name in (*mine, ".image_0002.png.11.tmp", ".image_0003.png.0.tmp"):
        (source / name).write_bytes(b"half")
    PairWriter(tmp_path, "1")
    assert sorted(path.name for path in source.iterdir()) == [
        ".image_0002.png.11.tmp", ".image_0003.png.0.tmp", "image_0000.png",
    ]  # fmt: skip


def test_killed_while_writing_leaves_no_half_file_under_a_final_name(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from dda.pairs.writer import PairWriter, pair_name\n"
        "picture = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)\n"
        "writer = PairWriter(Path(sys.argv[1]))\n"
        "print('ready', flush=True)\n"
        "for place in range(10_000):\n"
        "    writer.write(pair_name(place % 7, 0), picture, picture)\n"
    )
    picture = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
    for attempt in range(2):
        process = subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.15 + 0.1 * attempt)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        for file in (tmp_path / "amplified_data").rglob("image_*.png"):
            assert np.array_equal(read_image(file), picture)
    PairWriter(tmp_path)
    names = [path.name for path in (tmp_path / "amplified_data").rglob("*") if path.is_file()]
    assert names and all(re.fullmatch(r"image_000\d\.png", name) for name in names)
