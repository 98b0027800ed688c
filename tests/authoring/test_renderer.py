"""What a recipe changes on a face, and what it leaves alone."""

import numpy as np
import pytest
from skimage import color

from dda.authoring.oklab import srgb_to_oklab
from dda.authoring.recipes import Foundation, Liner, Lips, Pigment, Recipe, Shadow, load_packaged_recipes
from dda.authoring.renderer import render_recipe
from dda.faces.face_mesh import EYE_OUTLINES
from tests.authoring.conftest import Portrait

STYLES = ["Glamorous makeup", "Korean makeup", "Natural makeup", "Red lip makeup", "Smokey eyes"]


@pytest.fixture(scope="module")
def looks(portrait: Portrait) -> dict[str, np.ndarray]:
    return {name: render_recipe(*portrait, recipe) for name, recipe in load_packaged_recipes().items()}


def lab_change(image: np.ndarray, painted: np.ndarray, where: np.ndarray) -> np.ndarray:
    """Mean change of L*, a*, b* (CIELAB, by scikit-image) over a mask."""
    return (color.rgb2lab(painted) - color.rgb2lab(image))[where].mean(0)


def test_an_empty_recipe_returns_the_source_exactly(portrait: Portrait) -> None:
    assert np.array_equal(render_recipe(*portrait, Recipe("Nothing")), portrait[0])


def test_the_source_is_not_written_to(portrait: Portrait) -> None:
    image, regions = portrait
    before = image.copy()
    render_recipe(image, regions, load_packaged_recipes()["Glamorous makeup"])
    assert np.array_equal(image, before)


@pytest.mark.parametrize("style", STYLES)
def test_nothing_changes_outside_the_masks(portrait: Portrait, looks: dict[str, np.ndarray], style: str) -> None:
    image, regions = portrait
    outside = regions.total_mask == 0
    assert outside.any()
    assert np.array_equal(looks[style][outside], image[outside])


@pytest.mark.parametrize("style", STYLES)
def test_eyeballs_and_teeth_are_left_alone(portrait: Portrait, looks: dict[str, np.ndarray], style: str) -> None:
    image, regions = portrait
    change = np.abs(looks[style].astype(int) - image)
    for outline in EYE_OUTLINES:
        x, y = regions.face.points[list(outline)].mean(0).astype(int)
        assert change[y - 2 : y + 3, x - 4 : x + 5].max() <= 2
    x, y = ((regions.face.points[13] + regions.face.points[14]) / 2).astype(int)
    assert change[y - 1 : y + 2, x - 10 : x + 11].max() <= 3


def test_lipstick_reddens_lips_and_nothing_else(portrait: Portrait) -> None:
    image, regions = portrait
    painted = render_recipe(image, regions, Recipe("Lips", lips=Lips(Pigment(25, 0.19, 0.48), coverage=0.9)))
    lightness, red, _ = lab_change(image, painted, regions["lips"] > 0.9)
    assert red > 10 and lightness < 0
    assert np.array_equal(painted[regions["lips"] == 0], image[regions["lips"] == 0])


def fine_detail(picture: np.ndarray) -> np.ndarray:
    """Lightness (H - 2, W - 2) against that of the four neighbors."""
    light = srgb_to_oklab(picture)[..., 0]
    return light[1:-1, 1:-1] - (light[:-2, 1:-1] + light[2:, 1:-1] + light[1:-1, :-2] + light[1:-1, 2:]) / 4


def test_lipstick_keeps_the_texture_of_the_lips(portrait: Portrait) -> None:
    image, regions = portrait
    painted = render_recipe(image, regions, Recipe("Lips", lips=Lips(Pigment(25, 0.19, 0.48), coverage=0.9)))
    _, y = regions.face.points[17]
    lower_lip = regions["lips"][1:-1, 1:-1] > 0.9
    lower_lip[: int(y) - 12] = False
    assert lower_lip.sum() > 300
    before, after = (fine_detail(picture)[lower_lip] for picture in (image, painted))
    assert np.corrcoef(before, after)[0, 1] > 0.7  # the rest is the edge, and rounding to 8 bits


def test_a_stronger_recipe_changes_more(portrait: Portrait) -> None:
    image, regions = portrait
    sheer, full = (
        render_recipe(image, regions, Recipe("Lips", lips=Lips(Pigment(25, 0.19, 0.48), coverage=coverage)))
        for coverage in (0.3, 0.9)
    )
    lips = regions["lips"] > 0.9
    assert lab_change(image, full, lips)[1] > 2 * lab_change(image, sheer, lips)[1]


def test_shadow_and_liner_darken_the_lids(portrait: Portrait) -> None:
    image, regions = portrait
    lids = regions["eyes"] > 0.5
    dark = Pigment(50, 0.02, 0.3)
    shadow, liner = Shadow(dark, coverage=0.8), Liner(dark, coverage=0.9)
    for recipe in (Recipe("Shadow", shadow=shadow), Recipe("Liner", liner=liner)):
        assert lab_change(image, render_recipe(image, regions, recipe), lids)[0] < -0.2


def test_foundation_keeps_fine_texture_and_evens_the_rest(portrait: Portrait) -> None:
    image, regions = portrait
    painted = render_recipe(image, regions, Recipe("Skin", foundation=Foundation(evenness=1.0)))
    skin = regions["skin"][1:-1, 1:-1] > 0.95
    assert not np.array_equal(painted, image)
    # Rounding to 8 bits costs a little of so soft a photo's detail.
    assert np.corrcoef(fine_detail(image)[skin], fine_detail(painted)[skin])[0, 1] > 0.93


def test_a_gray_picture_stays_gray(portrait: Portrait) -> None:
    image, regions = portrait
    gray = np.repeat(image.mean(-1).round().astype(np.uint8)[..., None], 3, axis=2)
    painted = render_recipe(gray, regions, load_packaged_recipes()["Red lip makeup"])
    assert np.ptp(painted.astype(int), axis=-1).max() <= 1
    assert not np.array_equal(painted, gray)


def test_the_package_has_five_different_styles(portrait: Portrait, looks: dict[str, np.ndarray]) -> None:
    assert sorted(looks) == STYLES
    masked = portrait[1].total_mask > 0.5
    for first in STYLES:
        assert np.abs(looks[first].astype(int) - portrait[0])[masked].mean() > 1
        for second in STYLES:
            if first != second:
                assert np.abs(looks[first].astype(int) - looks[second])[masked].mean() > 1


def test_each_style_is_strongest_where_its_name_says(portrait: Portrait, looks: dict[str, np.ndarray]) -> None:
    image, regions = portrait
    lips = {style: lab_change(image, look, regions["lips"] > 0.9) for style, look in looks.items()}
    lids = {style: lab_change(image, look, regions["eyes"] > 0.7) for style, look in looks.items()}
    assert max(lips, key=lambda style: lips[style][1]) == "Red lip makeup"
    assert min(lids, key=lambda style: lids[style][0]) == "Smokey eyes"
    skins = {style: lab_change(image, look, regions["skin"] > 0.9)[0] for style, look in looks.items()}
    assert max(skins, key=lambda style: skins[style]) == "Korean makeup"


def test_painting_is_deterministic(portrait: Portrait, looks: dict[str, np.ndarray]) -> None:
    for style, recipe in load_packaged_recipes().items():
        assert np.array_equal(render_recipe(*portrait, recipe), looks[style])
