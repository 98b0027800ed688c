import numpy as np
import pytest

from dda.faces.soft_masks import draw_soft_polygons, smoothstep

SQUARE = np.array([[10.0, 10.0], [30.0, 10.0], [30.0, 30.0], [10.0, 30.0]])


def test_smoothstep_rises_from_0_to_1_between_its_ends() -> None:
    assert smoothstep(np.array([-1.0, 2.0, 3.0, 4.0, 9.0]), 2, 4).tolist() == [0, 0, 0.5, 1, 1]
    assert (np.diff(smoothstep(np.linspace(2, 4, 50), 2, 4)) > 0).all()


def test_a_mask_has_the_area_of_its_polygon() -> None:
    mask = draw_soft_polygons([SQUARE], 40, feather=0.5)
    assert mask.shape == (40, 40) and mask.min() == 0 and mask.max() == 1
    assert mask.sum() == pytest.approx(400, rel=0.06)  # Pillow draws the edge too
    assert mask[20, 20] == 1 and mask[20, 5] == 0


def test_feathering_softens_the_edge_and_keeps_the_area() -> None:
    hard, soft = (draw_soft_polygons([SQUARE], 40, feather) for feather in (0.5, 3))
    assert soft.sum() == pytest.approx(hard.sum(), rel=0.06)
    assert soft[20, 7] > 0.1 and hard[20, 7] == 0


def test_growing_moves_the_edge_by_that_many_pixels() -> None:
    assert draw_soft_polygons([SQUARE], 40, 0.5, grow=3)[20].sum() == pytest.approx(26, abs=0.7)


def test_no_polygon_and_a_polygon_outside_give_an_empty_mask() -> None:
    assert not draw_soft_polygons([], 40, 1).any()
    assert not draw_soft_polygons([SQUARE + 100], 40, 1).any()
