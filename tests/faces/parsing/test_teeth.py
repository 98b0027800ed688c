"""A drawn mouth: lips, and between them an upper and a lower row of teeth with the oral cavity in the middle."""

import numpy as np
import pytest

from dda.faces.parsing.color_statistics import compute_log_colors
from dda.faces.parsing.teeth import find_mouth_interior

LIP, TOOTH, DARK, TONGUE = (170, 85, 85), (215, 200, 180), (30, 15, 15), (150, 70, 75)

HEIGHT, WIDTH = 80, 120
ROWS, COLUMNS = np.mgrid[:HEIGHT, :WIDTH]


def compute_ellipse_distance(height: float, width: float) -> np.ndarray:
    """Approximate signed distance (80, 120) from a centered ellipse, positive inside."""
    radius = np.hypot((ROWS - HEIGHT / 2) / height, (COLUMNS - WIDTH / 2) / width)
    return (1 - radius) * min(height, width)


LIPS = compute_ellipse_distance(36, 56) > 2
OPENING = compute_ellipse_distance(18, 40)


def paint_mouth(*parts: tuple[np.ndarray, tuple[int, int, int]]) -> np.ndarray:
    """Paint ``parts`` onto lips and add a little noise; return the log colors (3, 80, 120)."""
    picture = np.full((HEIGHT, WIDTH, 3), LIP, np.float32)
    for mask, color in parts:
        picture[mask] = color
    picture += np.random.default_rng(0).normal(0, 4, picture.shape)
    return np.stack(compute_log_colors(np.clip(picture, 0, 255).astype(np.uint8)))


UPPER, LOWER = (OPENING > 0) & (ROWS < 36), (OPENING > 0) & (ROWS > 48)
CAVITY = (OPENING > 0) & ~UPPER & ~LOWER
MOUTH = ((OPENING > 0, DARK), (UPPER, TOOTH), (LOWER, TOOTH))


def test_both_rows_of_teeth_and_the_cavity_are_found_and_no_lip() -> None:
    interior = find_mouth_interior(paint_mouth(*MOUTH), LIPS, OPENING)
    assert interior.shape == (HEIGHT, WIDTH) and interior.min() >= 0 and interior.max() <= 1
    assert interior[UPPER].mean() > 0.97 and interior[LOWER].mean() > 0.97 and interior[CAVITY].mean() > 0.97
    assert interior[LIPS & (OPENING < -2.5)].max() < 0.05


@pytest.mark.parametrize("shift", [-4, 4], ids=["line too tight", "line too wide"])
def test_teeth_end_at_their_own_edge_and_not_at_the_line_of_the_mesh(shift: float) -> None:
    interior = find_mouth_interior(paint_mouth(*MOUTH), LIPS, OPENING + shift)
    assert interior[UPPER].mean() > 0.9 and interior[LOWER].mean() > 0.9
    assert interior[LIPS & (OPENING < -2.5)].mean() < 0.05


def test_a_closed_mouth_has_no_teeth_although_the_mesh_is_open() -> None:
    assert find_mouth_interior(paint_mouth(), LIPS, OPENING).max() < 0.05


def test_a_tongue_is_not_a_tooth() -> None:
    interior = find_mouth_interior(paint_mouth(*MOUTH, (CAVITY, TONGUE)), LIPS, OPENING)
    assert interior[UPPER].mean() > 0.9 > 0.1 > interior[CAVITY & (ROWS > 38) & (ROWS < 46)].mean()


def test_a_highlight_on_the_lip_is_not_a_tooth() -> None:
    highlight = (np.abs(ROWS - 65) < 3) & (np.abs(COLUMNS - 60) < 15)
    interior = find_mouth_interior(paint_mouth(*MOUTH, (highlight, (230, 190, 185))), LIPS, OPENING)
    assert interior[LOWER].mean() > 0.9 and interior[highlight].max() < 0.1


def test_a_highlight_between_closed_lips_is_too_red_for_a_tooth() -> None:
    highlight = (np.abs(ROWS - 40) < 4) & (np.abs(COLUMNS - 60) < 20)
    assert find_mouth_interior(paint_mouth((highlight, (215, 112, 112))), LIPS, OPENING)[highlight].max() < 0.1


def test_teeth_under_warm_light_are_found_by_their_contrast_to_the_lips() -> None:
    warm = np.array([1.0, 0.6, 0.35])
    parts = [(mask, tuple(color * warm)) for mask, color in ((LIPS, np.array(LIP)), *MOUTH)]
    interior = find_mouth_interior(paint_mouth(*parts), LIPS, OPENING)
    assert interior[UPPER].mean() > 0.97 and interior[LIPS & (OPENING < -2.5)].max() < 0.05


def test_the_mesh_decides_in_a_gray_picture() -> None:
    gray = [(mask, (sum(color) / 3,) * 3) for mask, color in ((np.ones_like(LIPS), LIP), *MOUTH)]
    interior = find_mouth_interior(paint_mouth(*gray), LIPS, OPENING)
    assert interior[OPENING > 0].min() == 1 and interior[OPENING < -2].max() == 0
