"""Recipes and the artist who paints them."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import color, data

from dda.authoring import author
from dda.authoring.artist import paint
from dda.authoring.oklab import from_oklab, to_oklab
from dda.authoring.recipes import (
    Foundation,
    Liner,
    Lips,
    Pigment,
    Recipe,
    Shadow,
    load_recipe,
    named_recipes,
)
from dda.errors import UserError
from dda.faces.face_mesh import EYE_OUTLINES, FaceDetector
from dda.faces.parsing.mesh_masks import draw_region_masks
from dda.faces.region_masks import RegionMasks

STYLES = ["Glamorous makeup", "Korean makeup", "Natural makeup", "Red lip makeup", "Smokey eyes"]


@pytest.fixture(scope="module")
def portrait() -> tuple[np.ndarray, RegionMasks]:
    face = FaceDetector()(data.astronaut())[0]
    image = face.crop(data.astronaut())
    return image, draw_region_masks(image, face.to_crop())


@pytest.fixture(scope="module")
def looks(portrait) -> dict[str, np.ndarray]:
    return {name: paint(*portrait, recipe) for name, recipe in named_recipes().items()}


def lab_change(image: np.ndarray, painted: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Mean change of L*, a*, b* over a mask, by an implementation other than the artist's own."""
    return (color.rgb2lab(painted) - color.rgb2lab(image))[where].mean(0)


def test_oklab_returns_every_gray_and_a_grid_of_colors_exactly():
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(-1, 3)
    grays = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    for colors in (grid, grays):
        assert np.array_equal(from_oklab(to_oklab(colors)), colors)


def test_oklab_of_known_colors():
    lab = to_oklab(np.array([[255, 255, 255], [255, 0, 0]], np.uint8))
    assert np.allclose(lab, [[1, 0, 0], [0.62796, 0.22486, 0.12585]], atol=1e-4)


def test_an_empty_recipe_returns_the_source_exactly(portrait):
    assert np.array_equal(paint(*portrait, Recipe("Nothing")), portrait[0])


def test_the_source_is_not_written_to(portrait):
    image, regions = portrait
    before = image.copy()
    paint(image, regions, named_recipes()["Glamorous makeup"])
    assert np.array_equal(image, before)


@pytest.mark.parametrize("style", STYLES)
def test_nothing_changes_outside_the_masks(portrait, looks, style):
    image, regions = portrait
    outside = regions.total_mask == 0
    assert outside.any()
    assert np.array_equal(looks[style][outside], image[outside])


@pytest.mark.parametrize("style", STYLES)
def test_eyeballs_and_teeth_are_left_alone(portrait, looks, style):
    image, regions = portrait
    change = np.abs(looks[style].astype(int) - image)
    for outline in EYE_OUTLINES:
        x, y = regions.face.points[list(outline)].mean(0).astype(int)
        assert change[y - 2 : y + 3, x - 4 : x + 5].max() <= 2
    x, y = ((regions.face.points[13] + regions.face.points[14]) / 2).astype(int)
    assert change[y - 1 : y + 2, x - 10 : x + 11].max() <= 3


def test_lipstick_reddens_lips_and_nothing_else(portrait):
    image, regions = portrait
    painted = paint(image, regions, Recipe("Lips", lips=Lips(Pigment(25, 0.19, 0.48), coverage=0.9)))
    lightness, red, _ = lab_change(image, painted, regions["lips"] > 0.9)
    assert red > 10 and lightness < 0
    assert np.array_equal(painted[regions["lips"] == 0], image[regions["lips"] == 0])


def fine_detail(picture: np.ndarray) -> np.ndarray:
    """Lightness (H - 2, W - 2) against that of the four neighbors."""
    light = to_oklab(picture)[..., 0]
    return light[1:-1, 1:-1] - (light[:-2, 1:-1] + light[2:, 1:-1] + light[1:-1, :-2] + light[1:-1, 2:]) / 4


def test_lipstick_keeps_the_texture_of_the_lips(portrait):
    image, regions = portrait
    painted = paint(image, regions, Recipe("Lips", lips=Lips(Pigment(25, 0.19, 0.48), coverage=0.9)))
    _, y = regions.face.points[17]
    lower_lip = regions["lips"][1:-1, 1:-1] > 0.9
    lower_lip[: int(y) - 12] = False
    assert lower_lip.sum() > 300
    before, after = (fine_detail(picture)[lower_lip] for picture in (image, painted))
    assert np.corrcoef(before, after)[0, 1] > 0.7  # the rest is the edge, and rounding to 8 bits


def test_a_stronger_recipe_changes_more(portrait):
    image, regions = portrait
    sheer, full = (
        paint(image, regions, Recipe("Lips", lips=Lips(Pigment(25, 0.19, 0.48), coverage=coverage)))
        for coverage in (0.3, 0.9)
    )
    lips = regions["lips"] > 0.9
    assert lab_change(image, full, lips)[1] > 2 * lab_change(image, sheer, lips)[1]


def test_shadow_and_liner_darken_the_lids(portrait):
    image, regions = portrait
    lids = regions["eyes"] > 0.5
    dark = Pigment(50, 0.02, 0.3)
    shadow, liner = Shadow(dark, coverage=0.8), Liner(dark, coverage=0.9)
    for recipe in (Recipe("Shadow", shadow=shadow), Recipe("Liner", liner=liner)):
        assert lab_change(image, paint(image, regions, recipe), lids)[0] < -0.2


def test_foundation_keeps_fine_texture_and_evens_the_rest(portrait):
    image, regions = portrait
    painted = paint(image, regions, Recipe("Skin", foundation=Foundation(evenness=1.0)))
    skin = regions["skin"][1:-1, 1:-1] > 0.95
    assert not np.array_equal(painted, image)
    # Rounding to 8 bits costs a little of so soft a photo's detail.
    assert np.corrcoef(fine_detail(image)[skin], fine_detail(painted)[skin])[0, 1] > 0.93


def test_a_gray_picture_stays_gray(portrait):
    image, regions = portrait
    gray = np.repeat(image.mean(-1).round().astype(np.uint8)[..., None], 3, axis=2)
    painted = paint(gray, regions, named_recipes()["Red lip makeup"])
    assert np.ptp(painted.astype(int), axis=-1).max() <= 1
    assert not np.array_equal(painted, gray)


def test_the_five_styles_are_there_and_differ(portrait, looks):
    assert sorted(looks) == STYLES
    masked = portrait[1].total > 0.5
    for first in STYLES:
        assert np.abs(looks[first].astype(int) - portrait[0])[masked].mean() > 1
        for second in STYLES:
            if first != second:
                assert np.abs(looks[first].astype(int) - looks[second])[masked].mean() > 1


def test_the_styles_keep_their_promise(portrait, looks):
    image, regions = portrait
    lips = {style: lab_change(image, look, regions["lips"] > 0.9) for style, look in looks.items()}
    lids = {style: lab_change(image, look, regions["eyes"] > 0.7) for style, look in looks.items()}
    assert max(lips, key=lambda style: lips[style][1]) == "Red lip makeup"
    assert min(lids, key=lambda style: lids[style][0]) == "Smokey eyes"
    skins = {style: lab_change(image, look, regions["skin"] > 0.9)[0] for style, look in looks.items()}
    assert max(skins, key=lambda style: skins[style]) == "Korean makeup"


def test_painting_is_deterministic(portrait, looks):
    for style, recipe in named_recipes().items():
        assert np.array_equal(paint(*portrait, recipe), looks[style])


def test_a_recipe_reads_back_as_written(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("name: 나의 화장\nlips: {coverage: 1, color: {hue: 10}}\n", encoding="utf-8")
    expected = Recipe("나의 화장", lips=replace(Lips(), coverage=1.0, color=Pigment(hue=10.0)))
    assert load_recipe(file) == expected


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("name: A\nlips: {glos: 0.5}", r"lips\.glos: no such parameter; did you mean 'gloss'\?"),
        ("name: A\nlips: {gloss: 1.5}", r"lips\.gloss: expected a number from 0 to 1, found 1\.5"),
        ("name: A\nlips: {gloss: yes}", r"lips\.gloss: expected a number from 0 to 1, found True"),
        ("name: A\nlips: {gloss: .nan}", r"lips\.gloss: expected a number"),
        ("name: A\nlips: 3", r"lips: expected a group of keys, found 3"),
        ("name: A\nwarpaint: {}", r"warpaint: no such parameter; known here: foundation"),
        ("lips: {gloss: 0.5}", r"name: expected the name of one folder .*, found nothing"),
        ("name: ../A", r"name: expected the name of one folder .*, found '\.\./A'"),
        ("name: ' '", r"name: expected the name of one folder .*, found ' '"),
        ("name: [", r"is not YAML"),
        ("", r"expected keys and values"),
    ],
)
def test_a_mistake_in_a_recipe_is_one_clear_line(tmp_path, content, told):
    file = tmp_path / "bad.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match=told) as caught:
        load_recipe(file)
    assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)


def test_a_missing_recipe_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        load_recipe(tmp_path / "none.yaml")


def test_authoring_writes_pairs_and_names_what_it_rejected(tmp_path, capsys):
    portraits = tmp_path / "portraits"
    portraits.mkdir()
    Image.fromarray(data.astronaut()).save(portraits / "astronaut.png")
    Image.fromarray(data.astronaut()).save(portraits / "left out.png")
    Image.fromarray(data.coffee()).save(portraits / "coffee.png")
    Image.fromarray(data.astronaut()).resize((160, 160)).save(portraits / "tiny.png")
    (portraits / "broken.jpg").write_bytes(b"not a picture")
    out = tmp_path / "out"
    author.main([str(portraits), str(out), "--exclude", "left out"])
    written = {file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file()}
    assert written == {f"{name}/{side}/astronaut.png" for name in STYLES for side in ("source", "target")}
    with Image.open(out / "Korean makeup" / "target" / "astronaut.png") as target:
        assert target.size == (512, 512)
    printed = capsys.readouterr().out
    assert "coffee.png: no face found" in printed
    assert "broken.jpg: not a picture" in printed
    assert "tiny.png: too small: the face's crop is" in printed
    with pytest.raises(SystemExit, match="out: holds something already, which a training would read too"):
        author.main([str(portraits), str(out)])


def test_authoring_takes_names_that_are_no_utf_8(tmp_path):
    Image.fromarray(data.astronaut()).save(tmp_path / "face.png")
    odd = tmp_path / "portraits" / os.fsdecode(b"\xff\xe9.png")
    odd.parent.mkdir()
    try:
        (tmp_path / "face.png").rename(odd)
    except OSError:  # a Mac's file system has none
        pytest.skip("this file system takes no such names")
    author.main([str(odd.parent), str(tmp_path / "out"), "--lipstick", "1"])
    assert (tmp_path / "out" / "Natural makeup" / "source" / odd.name).is_file()


def test_authoring_paints_recipes_of_ones_own(tmp_path):
    Image.fromarray(data.astronaut()).save(tmp_path / "astronaut.png")
    recipe, out = tmp_path / "mine.yaml", tmp_path / "out"
    recipe.write_text("name: 나의 화장\nlips: {coverage: 1, color: {hue: 10}}\n", encoding="utf-8")
    author.main([str(tmp_path), str(out), "--recipe", str(recipe)])
    assert [folder.name for folder in out.iterdir()] == ["나의 화장"]
    files = [out / "나의 화장" / side / "astronaut.png" for side in ("source", "target")]
    source, target = (np.asarray(Image.open(file)) for file in files)
    changed = (source != target).any(-1)
    assert 500 < changed.sum() < 0.05 * changed.size  # lips, and nothing else
    with pytest.raises(SystemExit, match=r"mine\.yaml: its name, '나의 화장', is another recipe's too"):
        author.main([str(tmp_path), str(out), "--recipe", str(recipe), str(recipe)])


def test_authoring_puts_a_lipstick_on_a_share_of_the_sources_and_takes_it_off_for_the_targets(tmp_path, portrait):
    image, regions = portrait
    (tmp_path / "portraits").mkdir()
    Image.fromarray(data.astronaut()).save(tmp_path / "portraits" / "astronaut.png")
    for share in ("0", "1"):
        author.main([str(tmp_path / "portraits"), str(tmp_path / share), "--lipstick", share])

    def picture(share: str, style: str, side: str) -> np.ndarray:
        return np.asarray(Image.open(tmp_path / share / style / side / "astronaut.png"))

    bare, worn = ([picture(share, style, "source") for style in STYLES] for share in ("0", "1"))
    assert all(np.array_equal(source, image) for source in bare)
    assert len({source.tobytes() for source in worn}) == len(STYLES)  # each a color of its own
    for style, source in zip(STYLES, worn, strict=True):
        assert not (source != image)[regions["lips"] == 0].any()
        assert np.array_equal(picture("1", style, "target"), picture("0", style, "target"))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["{folder}/none", "{folder}/out"], "is not a folder"),
        (["{folder}", "{folder}/out"], "holds no portraits"),
        (["{folder}", "{folder}/out", "--exclude", "me"], "holds no picture of that stem"),
        (["{folder}", "{folder}/out", "--recipe", "{folder}/none.yaml"], "none.yaml: cannot be read"),
        (["{folder}", "{folder}/out", "--lipstick", "25"], "--lipstick 25: expected a share from 0 to 1"),
    ],
)
def test_a_mistake_in_authoring_is_one_line(tmp_path: Path, arguments: list[str], told: str):
    with pytest.raises(SystemExit, match=told) as caught:
        author.main([argument.format(folder=tmp_path) for argument in arguments])
    assert "\n" not in str(caught.value)
