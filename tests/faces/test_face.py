import math

import numpy as np
import pytest

from dda.faces.alignment import ALIGNED_SIZE, invert_matrix
from dda.faces.face import MEAN_KEY_POINTS, Face
from dda.faces.preparation import PreparedFace


def project_mean_face(yaw: float = 0.0, roll: float = 0.0, size: float = 300.0) -> Face:
    """Project the mean face after a rotation by ``yaw`` and ``roll`` degrees."""
    y, r = math.radians(yaw), math.radians(roll)
    x_axis = np.array([math.cos(y), 0, -math.sin(y)])
    projected = np.stack([MEAN_KEY_POINTS @ x_axis, MEAN_KEY_POINTS[:, 1]], 1)
    plane = np.array([[math.cos(r), -math.sin(r)], [math.sin(r), math.cos(r)]])
    return Face(100 * projected @ plane.T + [300, 200], size, 0.9)


@pytest.mark.parametrize("yaw", [-60, -20, 0, 35])
@pytest.mark.parametrize("roll", [0, -40, 100])
def test_yaw_is_recovered_from_the_key_points(yaw: float, roll: float) -> None:
    assert project_mean_face(yaw, roll).yaw == pytest.approx(yaw, abs=0.1)


def test_yaw_agrees_with_the_yaw_of_the_mesh(portraits: list[PreparedFace]) -> None:
    for portrait in portraits:
        mesh = portrait.regions.face
        assert Face(mesh.key_points, mesh.size, 1.0).yaw == pytest.approx(mesh.yaw, abs=5)


def test_a_transformed_face_has_transformed_key_points() -> None:
    face = project_mean_face()
    transformed = face.transform(np.array([[0, -2.0, 10], [2.0, 0, 20]]))
    expected = np.stack([10 - 2 * face.key_points[:, 1], 20 + 2 * face.key_points[:, 0]], 1)
    assert np.allclose(transformed.key_points, expected)
    assert transformed.size == pytest.approx(2 * face.size) and transformed.score == face.score
    assert transformed.unit_px == pytest.approx(2 * face.unit_px)


def test_the_ffhq_crop_has_the_face_upright_and_centered() -> None:
    face = project_mean_face(roll=25)
    left, right = face.transform(invert_matrix(face.ffhq_matrix)).eye_centers
    assert left[1] == pytest.approx(right[1]) and left[0] + right[0] == pytest.approx(ALIGNED_SIZE)


def test_the_face_unit_is_a_hundredth_of_the_interocular_distance_unless_the_head_is_turned() -> None:
    assert project_mean_face(size=200).unit_px == pytest.approx(1)
    assert project_mean_face(yaw=80, size=200).unit_px == pytest.approx(200 / 250)
