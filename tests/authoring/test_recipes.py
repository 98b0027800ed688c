from dataclasses import replace
from pathlib import Path

import pytest

from dda.authoring.recipes import Lips, Pigment, Recipe, load_recipe
from dda.errors import UserError


def test_a_recipe_reads_back_as_written(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("name: 나의 화장\nlips: {coverage: 1, color: {hue: 10}}\n", encoding="utf-8")
    expected = Recipe("나의 화장", lips=replace(Lips(), coverage=1.0, color=Pigment(hue=10.0)))
    assert load_recipe(file) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name: A\nlips: {glos: 0.5}", r"lips\.glos: no such parameter; did you mean 'gloss'\?"),
        ("name: A\nlips: {colour: {hue: 10}}", r"lips\.colour: no such parameter; did you mean 'color'\?"),
        ("name: A\nlips: {gloss: 1.5}", r"lips\.gloss: expected a number from 0 to 1, found 1\.5"),
        ("name: A\nlips: {gloss: yes}", r"lips\.gloss: expected a number from 0 to 1, found True"),
        ("name: A\nlips: {gloss: .nan}", r"lips\.gloss: expected a number"),
        ("name: A\nlips: 3", r"lips: expected a group of keys, found 3"),
        ("name: A\nwarpaint: {}", r"warpaint: no such parameter; allowed: foundation"),
        ("lips: {gloss: 0.5}", r"name: expected the name of one folder .*, found nothing"),
        ("name: ../A", r"name: expected the name of one folder .*, found '\.\./A'"),
        ("name: ' '", r"name: expected the name of one folder .*, found ' '"),
        ("name: [", r"is not YAML"),
        ("", r"expected keys and values"),
    ],
)
def test_an_error_in_a_recipe_is_one_line(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        load_recipe(file)
    assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)


def test_a_missing_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        load_recipe(tmp_path / "none.yaml")
