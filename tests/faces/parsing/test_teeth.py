"""A drawn mouth: lips, and between them an upper and a lower row of teeth with the dark of the mouth in the middle."""

import numpy as np
import pytest

from dda.faces.parsing.color_statistics import compute_log_colors
from dda.faces.parsing.teeth import find_mouth_interior

LIP, TOOTH, DARK, TONGUE = (170, 85, 85), (215, 200, 180), (30, 15, 15), (150, 70, 75)

HEIGHT, WIDTH = 80, 120
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH]


def ellipse(height: float, width: float) -> np.ndarray:
    """Distance (80, 120) inside an ellipse about the middle, near enough: negative outside."""
    radius = np.hypot((ROWS - HEIGHT / 2) / height, (COLUMNS - WIDTH / 2) / width)
    return (1 - radius) * min(height, width)


LIPS = ellipse(36, 56) > 2
OPENING = ellipse(18, 40)


def painted(*parts: tuple[np.ndarray, tuple[int, int, int]]) -> np.ndarray:
    """The logarithms of the colors of lips with ``parts`` upon them, and a little noise."""
    picture = np.full((HEIGHT, WIDTH, 3), LIP, np.float32)
    for where, color in parts:
        picture[where] = color
    picture += np.random.default_rng(0).normal(0, 4, picture.shape)
    return np.stack(compute_log_colors(np.clip(picture, 0, 255).astype(np.uint8)))


UPPER, LOWER = (OPENING > 0) & (ROWS < 36), (OPENING > 0) & (ROWS > 48)
BETWEEN = (OPENING > 0) & ~UPPER & ~LOWER
MOUTH = ((OPENING > 0, DARK), (UPPER, TOOTH), (LOWER, TOOTH))


def test_both_rows_of_teeth_and_the_dark_between_them_are_found_and_no_lip() -> None:
    found = find_mouth_interior(painted(*MOUTH), LIPS, OPENING)
    assert found.shape == (HEIGHT, WIDTH) and found.min() >= 0 and found.max() <= 1
    assert found[UPPER].mean() > 0.97 and found[LOWER].mean() > 0.97 and found[BETWEEN].mean() > 0.97
    assert found[LIPS & (OPENING < -2.5)].max() < 0.05


@pytest.mark.parametrize("slip", [-4, 4], ids=["line too tight", "line too wide"])
def test_teeth_end_where_they_end_and_not_at_the_line_of_the_mesh(slip: float) -> None:
    found = find_mouth_interior(painted(*MOUTH), LIPS, OPENING + slip)
    assert found[UPPER].mean() > 0.9 and found[LOWER].mean() > 0.9
    assert found[LIPS & (OPENING < -2.5)].mean() < 0.05


def test_a_closed_mouth_shows_no_teeth_whatever_the_mesh_believes() -> None:
    assert find_mouth_interior(painted(), LIPS, OPENING).max() < 0.05


def test_a_tongue_is_as_red_as_lips_and_no_tooth() -> None:
    found = find_mouth_interior(painted(*MOUTH, (BETWEEN, TONGUE)), LIPS, OPENING)
    assert found[UPPER].mean() > 0.9 > 0.1 > found[BETWEEN & (ROWS > 38) & (ROWS < 46)].mean()


def test_a_shine_on_the_lip_is_no_tooth() -> None:
    shine = (np.abs(ROWS - 65) < 3) & (np.abs(COLUMNS - 60) < 15)
    found = find_mouth_interior(painted(*MOUTH, (shine, (230, 190, 185))), LIPS, OPENING)
    assert found[LOWER].mean() > 0.9 and found[shine].max() < 0.1


def test_a_shine_between_closed_lips_is_too_red_for_a_tooth() -> None:
    shine = (np.abs(ROWS - 40) < 4) & (np.abs(COLUMNS - 60) < 20)
    assert find_mouth_interior(painted((shine, (215, 112, 112))), LIPS, OPENING)[shine].max() < 0.1


def test_teeth_under_warm_light_are_found_by_what_they_are_beside_the_lips() -> None:
    warm = np.array([1.0, 0.6, 0.35])
    parts = [(where, tuple(color * warm)) for where, color in ((LIPS, np.array(LIP)), *MOUTH)]
    found = find_mouth_interior(painted(*parts), LIPS, OPENING)
    assert found[UPPER].mean() > 0.97 and found[LIPS & (OPENING < -2.5)].max() < 0.05


def test_without_colors_the_mesh_decides() -> None:
    gray = [(where, (sum(color) / 3,) * 3) for where, color in ((np.ones_like(LIPS), LIP), *MOUTH)]
    found = find_mouth_interior(painted(*gray), LIPS, OPENING)
    assert found[OPENING > 0].min() == 1 and found[OPENING < -2].max() == 0
