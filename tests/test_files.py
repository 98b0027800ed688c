from pathlib import Path

from dda.files import digest_files


def test_a_digest_is_of_what_the_files_hold_in_their_order(tmp_path: Path) -> None:
    one, other, same = (tmp_path / name for name in ("one", "other", "same"))
    one.write_bytes(b"weights")
    other.write_bytes(b"more")
    same.write_bytes(b"weights")
    assert len(digest_files([one])) == 64 and digest_files([one]) == digest_files([same])
    assert len({digest_files(files) for files in ([], [one], [one, other], [other, one])}) == 4
