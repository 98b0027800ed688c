import pytest

from dda.config.schema import AmplifyConfig
from dda.errors import UserError
from dda.regions import REGIONS
from dda.styles import RegionStyles, Style, StyleOptions, resolve_styles
from tests.config.test_conf import load_checked

FIVE = ["Natural makeup", "Glamorous makeup", "Smokey eyes", "Red lip makeup", "Korean makeup"]


def resolve(*overrides: str) -> list[Style]:
    return resolve_styles(load_checked(AmplifyConfig, *overrides).style_set.styles, FIVE)


def test_the_default_set_is_the_five_named_styles_in_order() -> None:
    styles = resolve()
    assert [style.name for style in styles] == FIVE
    for style in styles:
        assert dict(style.regions) == dict.fromkeys(REGIONS, style.name)
        lips = 0.5 if style.name == "Smokey eyes" else 1.0
        assert dict(style.strength) == dict.fromkeys(REGIONS, 1.0) | {"lips": lips}


@pytest.mark.parametrize(
    ("style_set", "name"),
    list(zip(["natural", "glamorous", "smokey_eyes", "red_lip", "korean"], FIVE, strict=True)),
)
def test_a_named_set_holds_its_one_style(style_set: str, name: str) -> None:
    assert [style.name for style in resolve(f"style_set={style_set}")] == [name]


def test_the_empty_set_is_whatever_the_checkpoint_was_trained_on() -> None:
    assert [style.name for style in resolve("style_set=checkpoint")] == FIVE
    (style,) = resolve_styles({}, ["나의 화장"])
    assert style == Style("나의 화장", dict.fromkeys(REGIONS, "나의 화장"), dict.fromkeys(REGIONS, 1.0))


def test_a_mix_takes_each_region_from_another_style() -> None:
    (mix,) = resolve("experiment=mix")
    assert dict(mix.regions) == {
        "eyes": "Smokey eyes",
        "lips": "Red lip makeup",
        "skin": "Natural makeup",
        "brows": "Natural makeup",
    }
    assert mix.strength["eyes"] == 0.8
    assert mix.strength["lips"] == 1.0


def test_a_mix_of_every_region_needs_no_base() -> None:
    look = StyleOptions(name="New", regions=RegionStyles(**dict.fromkeys(REGIONS, "Smokey eyes")))
    (style,) = resolve_styles({"new": look}, FIVE)
    assert set(style.regions.values()) == {"Smokey eyes"}


@pytest.mark.parametrize(
    ("look", "key"),
    [
        (StyleOptions(name="Blue"), "styles.blue.name=Blue"),
        (StyleOptions(name="Blue", base="Sky"), "styles.blue.base=Sky"),
        (StyleOptions(name="Natural makeup", regions=RegionStyles(lips="Sky")), "styles.blue.regions.lips=Sky"),
        (StyleOptions(name="natural makeup"), "styles.blue.name=natural makeup"),
    ],
)
def test_an_unknown_style_is_refused_with_the_checkpoints_styles(look: StyleOptions, key: str) -> None:
    with pytest.raises(UserError) as error:
        resolve_styles({"blue": look}, FIVE)
    assert key in str(error.value)
    assert all(name in str(error.value) for name in FIVE)
    assert "\n" not in str(error.value)


def test_two_styles_of_one_name_are_refused() -> None:
    looks = {"a": StyleOptions(name="Natural makeup"), "b": StyleOptions(name="Natural makeup", base="Smokey eyes")}
    with pytest.raises(UserError, match="two styles"):
        resolve_styles(looks, FIVE)
