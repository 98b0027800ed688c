import numpy as np
import pytest
from PIL import Image, ImageDraw

from dda.faces.face_mesh import MeshFace
from dda.faces.parsing.lips import LIPS_INNER, LIPS_OUTER, find_lips
from dda.faces.preparation import PreparedFace
from dda.faces.soft_masks import draw_soft_polygons

SKIN, LIP = (200, 150, 125), (170, 85, 85)


@pytest.fixture(params=[0, 1], ids=["astronaut", "hopper"])
def prepared(request: pytest.FixtureRequest, portraits: list[PreparedFace]) -> PreparedFace:
    return portraits[request.param]


def move_lips(face: MeshFace, shift: tuple[float, float] = (0, 0), scale: float = 1.0) -> MeshFace:
    """Scale the lips of a face about their center, then shift them by ``shift`` face units."""
    landmarks = face.landmarks.copy()
    lips = list(LIPS_OUTER + LIPS_INNER)
    center = landmarks[lips, :2].mean(0)
    landmarks[lips, :2] = center + scale * (landmarks[lips, :2] - center) + np.array(shift) * face.unit_px
    return MeshFace(landmarks, face.score)


def draw_mesh_mouth(face: MeshFace) -> np.ndarray:
    """Draw the mouth of the mesh, (512, 512) in [0, 1]."""
    return draw_soft_polygons([face.points[list(LIPS_OUTER)]], 512, 1)


def compute_iou(mask: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two soft masks."""
    return float(np.minimum(mask, other).sum() / np.maximum(mask, other).sum())


def draw_face(lips: MeshFace) -> np.ndarray:
    """Draw lips on plain skin, with a little noise."""
    picture = Image.new("RGB", (512, 512), SKIN)
    outline = [(float(x), float(y)) for x, y in lips.points[list(LIPS_OUTER)]]
    ImageDraw.Draw(picture).polygon(outline, fill=LIP)
    noise = np.random.default_rng(0).normal(0, 4, (512, 512, 3))
    return np.clip(np.asarray(picture) + noise, 0, 255).astype(np.uint8)


def close_mouth(face: MeshFace) -> MeshFace:
    """Close the inner lip line of a face."""
    landmarks = face.landmarks.copy()
    upper, lower = list(LIPS_INNER[11:]), list(LIPS_INNER[9:0:-1])
    landmarks[upper] = landmarks[lower] = (landmarks[upper] + landmarks[lower]) / 2
    return MeshFace(landmarks, face.score)


def test_lips_are_part_of_the_mouth(prepared: PreparedFace) -> None:
    mouth, lips = find_lips(prepared.source, prepared.regions.face)
    for mask in (mouth, lips):
        assert mask.shape == (512, 512) and mask.dtype == np.float32 and mask.min() >= 0 and mask.max() <= 1
    assert (lips <= mouth).all() and lips.sum() > 1000


def test_teeth_are_not_lips(portraits: list[PreparedFace]) -> None:
    smile = portraits[0]
    mouth, lips = find_lips(smile.source, smile.regions.face)
    inner = draw_soft_polygons([smile.regions.face.points[list(LIPS_INNER)]], 512, 0.5) > 0.99
    red, green, blue = smile.source[inner].astype(float).T
    teeth = (blue > 140) & (red - green < 45)
    assert teeth.sum() > 100
    assert np.median(lips[inner][teeth]) < 0.1 and np.median(mouth[inner][teeth]) > 0.9


def test_the_mesh_separates_teeth_from_lips_in_a_gray_picture(portraits: list[PreparedFace]) -> None:
    smile = portraits[0]
    gray = np.repeat(smile.source.mean(2, keepdims=True), 3, axis=2).astype(np.uint8)
    _, lips = find_lips(gray, smile.regions.face)
    line = [smile.regions.face.points[list(LIPS_INNER)]]
    assert lips[draw_soft_polygons(line, 512, 0.5) > 0.99].max() < 0.1
    around = (draw_mesh_mouth(smile.regions.face) > 0.9) & (draw_soft_polygons(line, 512, 0.5, grow=3) < 0.5)
    assert np.median(lips[around]) > 0.5


def test_teeth_outside_the_inner_lip_line_are_not_examples_of_a_lip(prepared: PreparedFace) -> None:
    face = close_mouth(prepared.regions.face)
    actual = move_lips(face, scale=1.15)
    picture = draw_face(actual)
    points = face.points[list(LIPS_OUTER)]
    teeth = draw_soft_polygons([points.mean(0) + 0.6 * (points - points.mean(0))], 512, 0.3) > 0.5
    picture[teeth] = np.clip(picture[teeth].mean(1, keepdims=True) + 100, 0, 255)
    _, lips = find_lips(picture, face)
    around = (draw_mesh_mouth(actual) > 0.9) & ~teeth
    assert np.median(lips[around]) > 0.7 > np.median(lips[teeth])


def test_a_closed_mouth_has_lips_only(portraits: list[PreparedFace]) -> None:
    closed = portraits[1]
    _, lips = find_lips(closed.source, closed.regions.face)
    points = closed.regions.face.points[list(LIPS_INNER)]
    inner = draw_soft_polygons([points.mean(0) + 0.8 * (points - points.mean(0))], 512, 0.3) > 0.9
    assert lips[inner].min() > 0.9


@pytest.mark.parametrize("scale", [0.85, 1.15], ids=["thin", "full"])
def test_colors_correct_the_edge_of_the_mesh(prepared: PreparedFace, scale: float) -> None:
    face = close_mouth(prepared.regions.face)
    actual = move_lips(face, scale=scale)
    _, lips = find_lips(draw_face(actual), face)
    expected = draw_mesh_mouth(actual)
    assert compute_iou(lips, expected) > compute_iou(draw_mesh_mouth(face), expected) + 0.1


def test_a_brown_lip_above_a_red_one_is_a_lip(prepared: PreparedFace) -> None:
    """The examples of lips are red; a pixel well inside the outer lip line that looks like skin is a lip too."""
    face = close_mouth(prepared.regions.face)
    picture = draw_face(face)
    upper = np.arange(512)[:, None] < face.points[list(LIPS_INNER), 1].mean()
    brown = (draw_mesh_mouth(face) > 0.5) & upper
    picture[brown] = np.clip(np.random.default_rng(1).normal(SKIN, 4, (int(brown.sum()), 3)), 0, 255)
    _, lips = find_lips(picture, face)
    well_inside = brown & (draw_soft_polygons([face.points[list(LIPS_OUTER)]], 512, 3) > 0.95)
    assert well_inside.sum() > 50 and np.median(lips[well_inside]) > 0.5


def test_colors_correct_a_shifted_mesh(prepared: PreparedFace) -> None:
    face = close_mouth(prepared.regions.face)
    shifted = move_lips(face, shift=(2, 3))
    _, lips = find_lips(draw_face(face), shifted)
    expected = draw_mesh_mouth(face)
    assert compute_iou(lips, expected) > compute_iou(draw_mesh_mouth(shifted), expected) + 0.07


def test_the_mesh_decides_where_lips_look_like_skin(prepared: PreparedFace) -> None:
    face = close_mouth(prepared.regions.face)
    blank = np.random.default_rng(0).normal(150, 4, (512, 512, 3)).astype(np.uint8)
    _, lips = find_lips(blank, face)
    assert compute_iou((lips > 0.5).astype(float), draw_mesh_mouth(face)) > 0.85


def test_red_skin_far_from_the_mesh_is_not_a_lip(prepared: PreparedFace) -> None:
    face = close_mouth(prepared.regions.face)
    chin = face.points[152]
    picture = draw_face(face)
    x, y = chin.astype(int)
    picture[y - 10 : y + 10, x - 10 : x + 10] = LIP
    _, lips = find_lips(picture, face)
    assert not lips[y - 10 : y + 10, x - 10 : x + 10].any()


def test_a_mouth_outside_the_picture_has_no_lips(prepared: PreparedFace) -> None:
    landmarks = prepared.regions.face.landmarks + np.array([2000, 0, 0], np.float32)
    mouth, lips = find_lips(prepared.source, MeshFace(landmarks, 1.0))
    assert not mouth.any() and not lips.any()


def test_a_mouth_just_below_the_picture_has_no_lips(prepared: PreparedFace) -> None:
    face = prepared.regions.face
    shift = 512 - face.points[list(LIPS_OUTER), 1].min() + 1
    mouth, lips = find_lips(prepared.source, MeshFace(face.landmarks + np.array([0, shift, 0], np.float32), 1.0))
    assert not mouth.any() and not lips.any()


def test_a_mouth_cut_by_the_edge_of_the_picture_is_found(prepared: PreparedFace) -> None:
    face = prepared.regions.face
    _, whole = find_lips(prepared.source, face)
    shift = int(512 - face.points[list(LIPS_OUTER), 1].mean())
    picture = np.roll(prepared.source, shift, axis=0)
    _, cut = find_lips(picture, MeshFace(face.landmarks + np.array([0, shift, 0], np.float32), 1.0))
    assert 0.3 * whole.sum() < cut.sum() < 0.7 * whole.sum()
