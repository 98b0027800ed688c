import numpy as np
import pytest
from PIL import Image, ImageDraw

from dda.faces.face_mesh import EYE_OUTLINES, MeshFace
from dda.faces.parsing.lips import LIPS_INNER, LIPS_OUTER
from dda.faces.parsing.mesh_masks import EYE_SURROUNDS, FACE_OVAL, compute_brow_outline, draw_region_masks
from dda.faces.preparation import PreparedFace
from dda.faces.region_masks import RegionMasks
from dda.regions import REGIONS


@pytest.fixture(params=[0, 1], ids=["astronaut", "hopper"])
def prepared(request: pytest.FixtureRequest, portraits: list[PreparedFace]) -> PreparedFace:
    return portraits[request.param]


def fill_outline(face: MeshFace, outline: tuple[int, ...], grow: float = 1.0) -> np.ndarray:
    """Fill an outline of the mesh, scaled about its center by ``grow``; bool (512, 512)."""
    points = face.points[list(outline)]
    points = points.mean(0) + grow * (points - points.mean(0))
    canvas = Image.new("L", (512, 512))
    ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in points], fill=1)
    return np.asarray(canvas) == 1


def test_masks_are_in_the_unit_range_and_sum_to_at_most_one(prepared: PreparedFace) -> None:
    masks = prepared.regions.masks
    assert masks.shape == (len(REGIONS), 512, 512) and masks.dtype == np.float32
    assert masks.min() >= 0 and masks.max() <= 1
    assert prepared.regions.total_mask.max() <= 1 + 1e-6


def test_masks_are_disjoint(prepared: PreparedFace) -> None:
    """Soft edges may overlap; no pixel belongs to two regions."""
    masks = prepared.regions.masks
    assert ((masks > 0.5).sum(0) <= 1).all()
    shared = np.sort(masks, axis=0)[-2]  # the second largest
    assert shared.sum() < 0.06 * masks.sum()


def test_every_region_is_at_its_landmarks(prepared: PreparedFace) -> None:
    regions, face = prepared.regions, prepared.regions.face
    lips = fill_outline(face, LIPS_OUTER, 0.95) & ~fill_outline(face, LIPS_INNER, 1.15)
    assert np.median(regions["lips"][lips]) > 0.9
    for side in (0, 1):
        x, y = compute_brow_outline(face.points, side).mean(0).astype(int)
        assert regions["brows"][y, x] > 0.5
    for cheek in (50, 280):
        x, y = face.points[cheek].astype(int)
        assert regions["skin"][y, x] > 0.9
    for outline in EYE_OUTLINES:
        x, y = face.points[outline[12]].astype(int)  # the middle of the upper lid's edge
        assert regions["eyes"][y - 8 : y - 3, x].max() > 0.6


def test_eyeballs_have_no_mask(prepared: PreparedFace) -> None:
    for outline in EYE_OUTLINES:
        eyeball = prepared.regions.total_mask[fill_outline(prepared.regions.face, outline, 0.8)]
        assert eyeball.size > 50 and eyeball.mean() < 0.04 and eyeball.max() < 0.6


def test_the_background_is_exactly_zero(prepared: PreparedFace) -> None:
    total = prepared.regions.total_mask
    background = ~fill_outline(prepared.regions.face, FACE_OVAL, 1.5)
    assert background.mean() > 0.3 and not total[background].any()
    assert not total[0].any() and not total[:, 0].any() and not total[:, -1].any()


def test_skin_stops_at_an_occluder(prepared: PreparedFace) -> None:
    face, picture = prepared.regions.face, prepared.source.copy()
    x, y = face.points[50].astype(int)
    patch = np.s_[y - 25 : y + 25, x - 25 : x + 25]
    picture[patch] = (20, 140, 40)
    assert prepared.regions["skin"][patch].mean() > 0.9
    assert draw_region_masks(picture, face)["skin"][patch].mean() < 0.05


def test_skin_stops_at_a_scarf_over_the_chin(prepared: PreparedFace) -> None:
    face, picture = prepared.regions.face, prepared.source.copy()
    top = int(face.points[:, 1].max() - 0.25 * np.ptp(face.points[:, 1]))
    picture[top:] = (20, 60, 160)
    covered = draw_region_masks(picture, face)
    assert covered["skin"][top + 6 :].sum() < 0.1 * prepared.regions["skin"][top + 6 :].sum()
    assert covered.total_mask[top + 6 :].sum() < 0.13 * prepared.regions.total_mask[top + 6 :].sum()
    assert covered.visible_share < prepared.regions.visible_share


def test_frames_of_glasses_are_not_skin(portraits: list[PreparedFace]) -> None:
    hopper = portraits[1]
    below_eyes = np.arange(512)[:, None] > hopper.regions.face.eye_centers[0][1]
    dark = fill_outline(hopper.regions.face, FACE_OVAL, 0.9) & below_eyes & (hopper.source.max(-1) < 60)
    assert dark.sum() > 100
    assert np.median(hopper.regions["skin"][dark]) < 0.1


def test_an_eye_behind_a_dark_lens_has_no_mask(prepared: PreparedFace) -> None:
    face = prepared.regions.face
    lens = fill_outline(face, EYE_SURROUNDS[0], 1.3)
    picture = prepared.source.copy()
    picture[lens] = (18, 18, 22)
    eyes = draw_region_masks(picture, face)["eyes"]
    assert eyes[lens].mean() < 0.1 * prepared.regions["eyes"][lens].mean()
    other = fill_outline(face, EYE_SURROUNDS[1])
    assert eyes[other].mean() > 0.7 * prepared.regions["eyes"][other].mean()


@pytest.mark.parametrize(("redness_drop", "min_share"), [(0.27, 0.0), (0.12, 0.8)])
def test_eyes_behind_lenses_as_bright_as_skin_are_recognized_by_their_low_redness(
    redness_drop: float, min_share: float, portraits: list[PreparedFace]
) -> None:
    """A mirrored lens, and eyes that are slightly less red than the face."""
    prepared = portraits[0]
    face = prepared.regions.face
    lenses = fill_outline(face, EYE_SURROUNDS[0], 1.3) | fill_outline(face, EYE_SURROUNDS[1], 1.3)
    picture = prepared.source.copy()
    shift = np.exp([-2 / 3 * redness_drop, redness_drop / 3, redness_drop / 3])
    picture[lenses] = (picture[lenses] * shift).clip(0, 255).astype(np.uint8)
    share = draw_region_masks(picture, face)["eyes"].sum() / prepared.regions["eyes"].sum()
    assert share == 0 if not min_share else share > min_share


def test_exposure_does_not_move_the_masks(prepared: PreparedFace) -> None:
    darker = draw_region_masks((prepared.source * 0.7).astype(np.uint8), prepared.regions.face)
    assert np.abs(darker.masks - prepared.regions.masks).mean() < 0.005


def test_an_eye_that_is_turned_away_has_no_mask(prepared: PreparedFace) -> None:
    landmarks = prepared.regions.face.landmarks.copy()
    outline = list(EYE_OUTLINES[1])
    center = landmarks[outline].mean(0)
    landmarks[outline] = center + 0.2 * (landmarks[outline] - center)
    eyes = draw_region_masks(prepared.source, MeshFace(landmarks, 1.0))["eyes"]
    middle = int(landmarks[1, 0])  # the tip of the nose
    assert eyes[:, : middle - 20].sum() > 100
    assert eyes[:, middle + 40 :].sum() == 0


def test_visibility_of_an_eye_depends_on_the_other_eye_too(prepared: PreparedFace) -> None:
    face, means = prepared.regions.face, []
    for covered in ((0,), (0, 1)):
        picture = prepared.source.copy()
        for side in covered:  # a fringe
            fringe = fill_outline(face, EYE_SURROUNDS[side])
            fringe[:, ::4] = False
            picture[fringe] = (18, 18, 22)
        means.append(draw_region_masks(picture, face)["eyes"][fill_outline(face, EYE_SURROUNDS[0])].mean())
    assert means[0] > 1.1 * means[1]


def test_the_oval_of_a_turned_face_contains_its_nose_and_lips(prepared: PreparedFace) -> None:
    yaw = np.radians(40)
    landmarks = prepared.regions.face.landmarks.copy()
    middle = landmarks.mean(0)
    x, z = (landmarks - middle)[:, [0, 2]].T
    landmarks[:, 0], landmarks[:, 2] = x * np.cos(yaw) + z * np.sin(yaw), z * np.cos(yaw) - x * np.sin(yaw)
    landmarks[:, [0, 2]] += middle[[0, 2]]
    face = MeshFace(landmarks, 1.0)
    assert abs(face.yaw) > 30
    oval = draw_region_masks(prepared.source, face).oval
    lips = fill_outline(face, LIPS_OUTER, 0.9)
    assert not fill_outline(face, FACE_OVAL)[lips].all() and oval[lips].min() > 0.99
    assert oval[fill_outline(face, FACE_OVAL, 0.9)].min() > 0.99 and oval[:, 0].max() == oval[0].max() == 0


def test_the_visible_share_is_the_share_of_the_oval_under_a_mask(prepared: PreparedFace) -> None:
    oval, face = prepared.regions.oval, prepared.regions.face
    assert 0.6 < prepared.regions.visible_share < 1
    none, half = np.zeros((4, 512, 512), np.float32), np.zeros((4, 512, 512), np.float32)
    assert RegionMasks(none, oval, face).visible_share == 0
    half[2] = 0.5 * oval
    assert RegionMasks(half, oval, face).visible_share == pytest.approx(0.5, abs=1e-3)


def test_masks_are_indexed_by_region(prepared: PreparedFace) -> None:
    for number, region in enumerate(REGIONS):
        assert np.shares_memory(prepared.regions[region], prepared.regions.masks[number])


def test_the_oval_is_the_inside_of_the_face_outline(prepared: PreparedFace) -> None:
    face, oval = prepared.regions.face, prepared.regions.oval
    assert oval[fill_outline(face, FACE_OVAL, 0.9)].min() > 0.99
    assert oval[~fill_outline(face, FACE_OVAL, 1.1)].max() < 0.01
