import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from dda.faces.face_mesh import EYE_OUTLINES, FaceDetector, MeshFace
from tests.conftest import ROOT


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Mean distance between corresponding points (N, 2), in pixels."""
    return float(np.hypot(*(first - second).T).mean())


@pytest.fixture(scope="module")
def face(detector: FaceDetector, astronaut: np.ndarray) -> MeshFace:
    (face,) = detector(astronaut)
    return face


def test_eyes_and_mouth_are_where_a_person_annotated_them(face: MeshFace) -> None:
    """The expected pixels were annotated by hand."""
    expected = np.array([[204, 102], [247, 104], [199, 139], [247, 142]])
    assert np.abs(np.stack([*face.eye_centers, *face.mouth_corners]) - expected).max() < 5
    assert face.landmarks.shape == (468, 3) and face.landmarks.dtype == np.float32
    assert 0.5 < face.score <= 1 and 90 < face.size < 125 and abs(face.yaw) < 10


def test_a_face_with_glasses_and_a_cap_is_found(detector: FaceDetector, hopper: np.ndarray) -> None:
    (face,) = detector(hopper)
    assert face.score > 0.5


def test_an_eye_outline_starts_at_the_left_corner_and_follows_the_lower_lid(face: MeshFace) -> None:
    for outline in EYE_OUTLINES:
        x, y = face.points[list(outline)].T
        assert x.argmin() == 0 and x.argmax() == 8
        lower, upper = y[1:8], y[:8:-1]  # from left to right
        assert (lower > upper).all()


def test_a_face_upside_down_is_found_the_right_way_up(detector: FaceDetector, hopper: np.ndarray) -> None:
    (upright,), (found,) = detector(hopper), detector(hopper[::-1, ::-1].copy())
    turned = [hopper.shape[1], hopper.shape[0]] - found.points
    assert distance(upright.points, turned) < 0.03 * upright.size


def test_the_image_left_eye_comes_first(detector: FaceDetector, astronaut: np.ndarray, face: MeshFace) -> None:
    (mirrored,) = detector(astronaut[:, ::-1].copy())
    for found in (face, mirrored):
        assert (
            found.eye_centers[0][0] < found.eye_centers[1][0] and found.mouth_corners[0][0] < found.mouth_corners[1][0]
        )
    swapped = np.stack(mirrored.eye_centers)[::-1] * [-1, 1] + [512, 0]
    assert distance(np.stack(face.eye_centers), swapped) < 1


@pytest.mark.parametrize("angle", [25, -40, 70])
def test_a_rotated_picture_has_rotated_landmarks(
    angle: int, detector: FaceDetector, astronaut: np.ndarray, face: MeshFace
) -> None:
    center = np.array([225, 120])
    turned = Image.fromarray(astronaut).rotate(angle, Image.Resampling.BICUBIC, center=(225, 120))
    (found,) = detector(np.asarray(turned))
    t = np.deg2rad(-angle)
    rotation = np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
    assert distance((face.points - center) @ rotation.T + center, found.points) < 2


def test_landmarks_are_in_pixels_of_the_given_picture(
    detector: FaceDetector, astronaut: np.ndarray, face: MeshFace
) -> None:
    doubled = np.asarray(Image.fromarray(astronaut).resize((1024, 1024), Image.Resampling.BICUBIC))
    (found,) = detector(doubled)
    assert distance(found.points, 2 * face.points) < 1
    padded = np.pad(astronaut, ((100, 50), (200, 300), (0, 0)))
    (found,) = detector(padded)
    assert distance(found.points, face.points + [200, 100]) < 2


def test_a_small_face_in_a_large_picture_is_found_in_tiles(
    detector: FaceDetector, astronaut: np.ndarray, face: MeshFace
) -> None:
    large = np.zeros((2400, 3200, 3), np.uint8)
    large[1500:1800, 2000:2300] = np.asarray(Image.fromarray(astronaut).resize((300, 300)))
    (found,) = detector(large)
    assert distance(found.points, face.points * 300 / 512 + [2000, 1500]) < 2


def test_several_faces_come_largest_first_without_duplicates(detector: FaceDetector, astronaut: np.ndarray) -> None:
    smaller = np.asarray(Image.fromarray(astronaut).resize((320, 320)))
    both = np.zeros((512, 832, 3), np.uint8)
    both[:320, :320], both[:, 320:] = smaller, astronaut
    first, second = detector(both)
    assert first.size > second.size
    assert first.points[:, 0].mean() > 320 > second.points[:, 0].mean()


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (700, 2), (300, 200), (2000, 1500)])
def test_a_picture_without_a_face_gives_an_empty_list(shape: tuple[int, int], detector: FaceDetector) -> None:
    assert detector(np.full((*shape, 3), 128, np.uint8)) == []


def test_threads_can_share_a_detector(detector: FaceDetector, astronaut: np.ndarray, hopper: np.ndarray) -> None:
    pictures = [astronaut, hopper] * 4
    alone = [detector(picture)[0].landmarks for picture in pictures[:2]]
    with ThreadPoolExecutor(4) as pool:
        together = [faces[0].landmarks for faces in pool.map(detector, pictures)]
    for number, landmarks in enumerate(together):
        assert np.array_equal(landmarks, alone[number % 2])


def test_a_transformed_face_has_transformed_landmarks(face: MeshFace) -> None:
    transformed = face.transform(np.array([[0, -2.0, 10], [2.0, 0, 20]]))
    assert np.allclose(
        transformed.points, np.stack([10 - 2 * face.points[:, 1], 20 + 2 * face.points[:, 0]], 1), atol=1e-3
    )
    assert np.allclose(transformed.landmarks[:, 2], 2 * face.landmarks[:, 2], atol=1e-4)
    assert transformed.score == face.score


@pytest.mark.parametrize("degrees", [-60, -20, 35, 60])
def test_yaw_changes_by_the_rotation_of_the_mesh(degrees: int, face: MeshFace) -> None:
    t = np.deg2rad(degrees)
    rotation = np.array([[np.cos(t), 0, -np.sin(t)], [0, 1, 0], [np.sin(t), 0, np.cos(t)]])
    turned = MeshFace((face.landmarks @ rotation.T).astype(np.float32), 1.0)
    assert turned.yaw == pytest.approx(face.yaw + degrees, abs=3)


def test_detection_prints_nothing_to_standard_error() -> None:
    """LiteRT's native code prints a notice when the first interpreter of a process is made."""
    script = (
        "from skimage.data import astronaut\n"
        "from dda.faces.face_mesh import FaceDetector\n"
        "print(len(FaceDetector()(astronaut())))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("1\n", "")
