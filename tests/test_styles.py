from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from dda.config.store import register_configs
from dda.errors import UserError
from dda.regions import REGIONS
from dda.styles import Style, resolve_styles
from tests.config.test_conf import CONF

FIVE = ["Natural makeup", "Glamorous makeup", "Smokey eyes", "Red lip makeup", "Korean makeup"]


def resolve(*overrides: str) -> list[Style]:
    register_configs()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return resolve_styles(compose("amplify", list(overrides)).style_set, FIVE)


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
    (style,) = resolve_styles({"name": "checkpoint", "styles": {}}, ["나의 화장"])
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
    entry = {"name": "New", "regions": dict.fromkeys(REGIONS, "Smokey eyes")}
    (style,) = resolve_styles({"styles": {"new": entry}}, FIVE)
    assert set(style.regions.values()) == {"Smokey eyes"}


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"name": "Blue"}, "styles.blue.name=Blue"),
        ({"name": "Blue", "base": "Sky"}, "styles.blue.base=Sky"),
        ({"name": "Natural makeup", "regions": {"lips": "Sky"}}, "styles.blue.regions.lips=Sky"),
        ({"name": "natural makeup"}, "styles.blue.name=natural makeup"),
    ],
)
def test_an_unknown_style_is_refused_with_the_checkpoints_styles(entry: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError) as error:
        resolve_styles({"styles": {"blue": entry}}, FIVE)
    assert key in str(error.value)
    assert all(name in str(error.value) for name in FIVE)
    assert "\n" not in str(error.value)


def test_two_styles_of_one_name_are_refused() -> None:
    entries = {"a": {"name": "Natural makeup"}, "b": {"name": "Natural makeup", "base": "Smokey eyes"}}
    with pytest.raises(UserError, match="two styles"):
        resolve_styles({"styles": entries}, FIVE)
