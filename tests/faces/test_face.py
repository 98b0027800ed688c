import math

import numpy as np
import pytest

from dda.faces.alignment import ALIGNED_SIZE, invert
from dda.faces.face import MEAN_FACE, Face
from dda.faces.preparation import PreparedFace


def seen(yaw: float = 0.0, roll: float = 0.0, size: float = 300.0) -> Face:
    """The mean face, its head turned to the side by ``yaw`` and in the picture plane by ``roll`` degrees."""
    y, r = math.radians(yaw), math.radians(roll)
    across = np.array([math.cos(y), 0, -math.sin(y)])
    turned = np.stack([MEAN_FACE @ across, MEAN_FACE[:, 1]], 1)
    plane = np.array([[math.cos(r), -math.sin(r)], [math.sin(r), math.cos(r)]])
    return Face(100 * turned @ plane.T + [300, 200], size, 0.9)


@pytest.mark.parametrize("yaw", [-60, -20, 0, 35])
@pytest.mark.parametrize("roll", [0, -40, 100])
def test_yaw_is_the_turn_of_the_head(yaw: float, roll: float) -> None:
    assert seen(yaw, roll).yaw == pytest.approx(yaw, abs=0.1)


def test_yaw_agrees_with_the_depths_of_a_mesh(portraits: list[PreparedFace]) -> None:
    for portrait in portraits:
        mesh = portrait.regions.face
        assert Face(mesh.key_points, mesh.size, 1.0).yaw == pytest.approx(mesh.yaw, abs=5)


def test_a_face_seen_through_a_matrix() -> None:
    face = seen()
    moved = face.moved(np.array([[0, -2.0, 10], [2.0, 0, 20]]))
    expected = np.stack([10 - 2 * face.key_points[:, 1], 20 + 2 * face.key_points[:, 0]], 1)
    assert np.allclose(moved.key_points, expected)
    assert moved.size == pytest.approx(2 * face.size) and moved.score == face.score
    assert moved.unit == pytest.approx(2 * face.unit)


def test_its_alignment_brings_it_upright_into_the_middle() -> None:
    face = seen(roll=25)
    left, right = face.moved(invert(face.alignment)).eyes
    assert left[1] == pytest.approx(right[1]) and left[0] + right[0] == pytest.approx(ALIGNED_SIZE)


def test_the_unit_is_a_hundredth_between_the_eyes_unless_the_head_is_turned() -> None:
    assert seen(size=200).unit == pytest.approx(1)
    assert seen(yaw=80, size=200).unit == pytest.approx(200 / 250)
