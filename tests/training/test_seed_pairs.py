import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dda.errors import OptionError, UserError
from dda.faces.parsing.mesh import MeshParser
from dda.images import read_image
from dda.training.seed_pairs import SeedPair, SeedPairFolder, find_styles, match_files


@pytest.fixture(scope="module")
def loaded(pairs_root: Path, parser: MeshParser) -> list[SeedPair]:
    return list(SeedPairFolder(pairs_root, parser))


@pytest.fixture
def copied(pairs_root: Path, tmp_path: Path) -> Path:
    """A copy of the style's folder, to change."""
    return Path(shutil.copytree(pairs_root / "Tinted lips", tmp_path / "pairs" / "Tinted lips"))


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


# --- Finding --------------------------------------------------------------------------------------------


def test_every_folder_of_source_and_target_is_a_style(tmp_path: Path) -> None:
    for folder in ("은은한/source", "은은한/target", "Bold/source", "Bold/target", "notes/source"):
        (tmp_path / folder).mkdir(parents=True)
    touch(tmp_path / "readme.txt")
    assert find_styles(tmp_path) == {"Bold": tmp_path / "Bold", "은은한": tmp_path / "은은한"}


def test_a_folder_of_source_and_target_is_one_style_named_as_the_folder(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_styles(copied) == {"Tinted lips": copied}
    monkeypatch.chdir(copied)
    assert list(find_styles(Path())) == ["Tinted lips"]


def test_names_of_styles_are_normalized(tmp_path: Path) -> None:
    for name in ("Zart", unicodedata.normalize("NFD", "은은한")):
        for side in ("source", "target"):
            (tmp_path / name / side).mkdir(parents=True)
    assert list(find_styles(tmp_path)) == ["Zart", "은은한"]
    for side in ("source", "target"):
        (tmp_path / "은은한" / side).mkdir(parents=True)
    with pytest.raises(UserError, match="another style has the same name"):
        find_styles(tmp_path)


def test_a_style_with_a_name_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    for side in ("source", "target"):
        (tmp_path / os.fsdecode("은은한".encode("cp949")) / side).mkdir(parents=True)
    with pytest.raises(UserError, match="is not UTF-8; rename the folder") as caught:
        find_styles(tmp_path)
    assert str(caught.value).isascii()


def test_a_folder_without_pairs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "style" / "source").mkdir(parents=True)
    with pytest.raises(OptionError, match=r"^root=.*: holds no pairs; expected .*<style>/source"):
        find_styles(tmp_path)
    with pytest.raises(OptionError, match=r"^root=.*none: is not a folder"):
        find_styles(tmp_path / "none")


def test_files_are_matched_by_stem_in_name_order(tmp_path: Path) -> None:
    touch(*(tmp_path / "source" / name for name in ("b.png", "a.JPG", "notes.txt")))
    touch(*(tmp_path / "target" / name for name in ("a.png", "b.webp", ".DS_Store")))
    pairs = [(source.name, target.name) for source, target in match_files(tmp_path)]
    assert pairs == [("a.JPG", "a.png"), ("b.png", "b.webp")]


def test_names_of_files_are_normalized(tmp_path: Path) -> None:
    for side, form in (("source", "NFC"), ("target", "NFD")):
        touch(tmp_path / side / unicodedata.normalize(form, "민지 é.png"))
    ((source, target),) = match_files(tmp_path)
    assert source.name != target.name and source.is_file() and target.is_file()


def test_two_pictures_of_one_name_are_refused(tmp_path: Path) -> None:
    touch(*(tmp_path / "source" / name for name in ("a.png", "a.jpg")), tmp_path / "target" / "a.png")
    with pytest.raises(UserError, match=r"source: a\.jpg and a\.png have the same name"):
        match_files(tmp_path)


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_picture_without_its_counterpart_is_refused(side: str, copied: Path) -> None:
    (copied / side / "plain.png").unlink()
    with pytest.raises(UserError, match="'plain' is in only one of source/ and target/"):
        match_files(copied)


def test_empty_folders_are_refused(tmp_path: Path) -> None:
    for side in ("source", "target"):
        (tmp_path / side).mkdir()
    with pytest.raises(UserError, match="hold no pictures"):
        match_files(tmp_path)


# --- Reading --------------------------------------------------------------------------------------------


def test_pairs_are_aligned_by_their_sources(loaded: list[SeedPair]) -> None:
    assert len(loaded) == 2
    for pair in loaded:
        assert pair.source.shape == pair.target.shape == (512, 512, 3) and pair.style == 0
        left, right = pair.regions.face.eye_centers
        assert abs(left[1] - right[1]) < 10 and abs((left[0] + right[0]) / 2 - 256) < 15
        change = np.abs(pair.source.astype(int) - pair.target).sum(-1)
        lips = pair.regions["lips"] > 0.7
        assert change[lips].mean() > 50 * change[pair.regions["lips"] == 0].mean()


def test_a_doubtful_pair_is_warned_of(
    copied: Path, hopper: np.ndarray, parser: MeshParser, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING"):
        list(SeedPairFolder(copied, parser))
        assert caplog.text == ""
        shutil.copy(copied / "source" / "plain.png", copied / "target" / "plain.png")
        Image.fromarray(hopper[44:556]).save(copied / "target" / "mirrored.png")
        list(SeedPairFolder(copied, parser))
    assert "plain.png: is the same as its source" in caplog.text
    assert "mirrored.png: differs from its source by" in caplog.text


def test_several_styles_are_numbered_and_named(copied: Path, parser: MeshParser) -> None:
    shutil.copytree(copied, copied.parent / "Another")
    pairs = SeedPairFolder(copied.parent, parser)
    assert pairs.styles == ["Another", "Tinted lips"] and len(pairs) == 4
    assert [pair.style for pair in pairs] == [0, 0, 1, 1]


def test_pictures_of_two_sizes_are_refused(copied: Path, parser: MeshParser) -> None:
    target = copied / "target" / "plain.png"
    Image.fromarray(read_image(target)).resize((500, 512)).save(target)
    with pytest.raises(UserError, match=r"plain.png: is 500x512 pixels, its source 512x512"):
        list(SeedPairFolder(copied, parser))


def test_a_picture_that_cannot_be_read_is_named(copied: Path, parser: MeshParser) -> None:
    (copied / "target" / "plain.png").write_text("no picture")
    with pytest.raises(UserError, match=r"target/plain.png: "):
        list(SeedPairFolder(copied, parser))


def test_a_source_without_a_face_is_named(copied: Path, parser: MeshParser) -> None:
    for side in ("source", "target"):
        Image.new("RGB", (512, 512), "gray").save(copied / side / "plain.png")
    with pytest.raises(UserError, match=r"source/plain\.png: no face found"):
        list(SeedPairFolder(copied, parser))
