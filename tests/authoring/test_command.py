"""`python -m dda.authoring`."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from dda.authoring.__main__ import main
from tests.authoring.conftest import Portrait

STYLES = ["Glamorous makeup", "Korean makeup", "Natural makeup", "Red lip makeup", "Smokey eyes"]


def test_pairs_are_written_and_rejected_portraits_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    portraits = tmp_path / "portraits"
    portraits.mkdir()
    Image.fromarray(data.astronaut()).save(portraits / "astronaut.png")
    Image.fromarray(data.astronaut()).save(portraits / "left out.png")
    Image.fromarray(data.coffee()).save(portraits / "coffee.png")
    Image.fromarray(data.astronaut()).resize((160, 160)).save(portraits / "tiny.png")
    (portraits / "broken.jpg").write_bytes(b"not a picture")
    out = tmp_path / "out"
    main([str(portraits), str(out), "--exclude", "left out"])
    written = {file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file()}
    assert written == {f"{name}/{side}/astronaut.png" for name in STYLES for side in ("source", "target")}
    with Image.open(out / "Korean makeup" / "target" / "astronaut.png") as target:
        assert target.size == (512, 512)
    printed = capsys.readouterr().out
    assert "coffee.png: no face found" in printed
    assert "broken.jpg: not a picture" in printed
    assert "tiny.png: too small: the face's crop is" in printed
    with pytest.raises(SystemExit, match="out: is not empty, and training would read what is in it"):
        main([str(portraits), str(out)])


def test_file_names_need_not_be_utf_8(tmp_path: Path) -> None:
    Image.fromarray(data.astronaut()).save(tmp_path / "face.png")
    odd = tmp_path / "portraits" / os.fsdecode(b"\xff\xe9.png")
    odd.parent.mkdir()
    try:
        (tmp_path / "face.png").rename(odd)
    except OSError:  # a Mac's file system has none
        pytest.skip("this file system takes no such names")
    main([str(odd.parent), str(tmp_path / "out"), "--lipstick", "1"])
    assert (tmp_path / "out" / "Natural makeup" / "source" / odd.name).is_file()


def test_recipes_can_be_given(tmp_path: Path) -> None:
    Image.fromarray(data.astronaut()).save(tmp_path / "astronaut.png")
    recipe, out = tmp_path / "mine.yaml", tmp_path / "out"
    recipe.write_text("name: 나의 화장\nlips: {coverage: 1, color: {hue: 10}}\n", encoding="utf-8")
    main([str(tmp_path), str(out), "--recipe", str(recipe)])
    assert [folder.name for folder in out.iterdir()] == ["나의 화장"]
    files = [out / "나의 화장" / side / "astronaut.png" for side in ("source", "target")]
    source, target = (np.asarray(Image.open(file)) for file in files)
    changed = (source != target).any(-1)
    assert 500 < changed.sum() < 0.05 * changed.size  # lips, and nothing else
    with pytest.raises(SystemExit, match=r"mine\.yaml: its name, '나의 화장', is also another recipe's"):
        main([str(tmp_path), str(out), "--recipe", str(recipe), str(recipe)])


def test_a_share_of_the_sources_wears_a_lipstick_and_no_target_does(tmp_path: Path, portrait: Portrait) -> None:
    image, regions = portrait
    (tmp_path / "portraits").mkdir()
    Image.fromarray(data.astronaut()).save(tmp_path / "portraits" / "astronaut.png")
    for share in ("0", "1"):
        main([str(tmp_path / "portraits"), str(tmp_path / share), "--lipstick", share])

    def picture(share: str, style: str, side: str) -> np.ndarray:
        return np.asarray(Image.open(tmp_path / share / style / side / "astronaut.png"))

    bare, worn = ([picture(share, style, "source") for style in STYLES] for share in ("0", "1"))
    assert all(np.array_equal(source, image) for source in bare)
    assert len({source.tobytes() for source in worn}) == len(STYLES)  # each a color of its own
    for style, source in zip(STYLES, worn, strict=True):
        assert not (source != image)[regions["lips"] == 0].any()
        assert np.array_equal(picture("1", style, "target"), picture("0", style, "target"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{folder}/none", "{folder}/out"], "is not a folder"),
        (["{folder}", "{folder}/out"], "holds no portraits"),
        (["{folder}", "{folder}/out", "--exclude", "me"], "holds no picture of that stem"),
        (["{folder}", "{folder}/out", "--recipe", "{folder}/none.yaml"], "none.yaml: cannot be read"),
        (["{folder}", "{folder}/out", "--lipstick", "25"], "--lipstick 25: must be a share from 0 to 1"),
    ],
)
def test_an_error_is_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message) as caught:
        main([argument.format(folder=tmp_path) for argument in arguments])
    assert "\n" not in str(caught.value)
