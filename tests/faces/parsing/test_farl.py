import importlib.util
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch import nn

from dda.errors import OptionError, SourceError
from dda.faces.dataset import FaceDataset
from dda.faces.face import Face
from dda.faces.parsing.farl import (
    LOWER_LID_HEIGHT_UNITS,
    MIN_CLASS_PROBABILITY,
    UPPER_LID_HEIGHT_UNITS,
    FaRLParser,
    draw_eye_ring,
    draw_face_outline,
    generate_anchors,
)
from dda.faces.preparation import prepare_faces
from dda.regions import REGIONS

CPU = torch.device("cpu")
LAPA = ("background", "face", "rb", "lb", "re", "le", "nose", "ulip", "imouth", "llip", "hair")
EYES = ((160, 234, 224, 254), (288, 234, 352, 254))
NOSE, MOUTH, OPENING = (232, 290, 272, 330), (196, 346, 316, 392), (216, 362, 296, 376)


def shrink_box(box: tuple[int, int, int, int], margin: int = 5) -> tuple[slice, slice]:
    left, top, right, bottom = box
    return np.s_[top + margin : bottom - margin, left + margin : right - margin]


@pytest.fixture(scope="session")
def face(template: np.ndarray) -> Face:
    return Face(template, 320.0, 1.0)


@pytest.fixture(scope="session")
def drawn(shades: dict[str, np.ndarray]) -> np.ndarray:
    """A drawn face in which every pixel has the color of its class."""
    picture = Image.new("RGB", (512, 512), tuple(shades["background"].tolist()))
    draw = ImageDraw.Draw(picture)

    def fill(shape: str, box: tuple[int, ...], name: str) -> None:
        getattr(draw, shape)(box, fill=tuple(shades[name].tolist()))

    fill("ellipse", (90, 30, 420, 300), "hair")
    fill("ellipse", (116, 90, 396, 460), "face")
    for eye, side in zip(EYES, "rl", strict=True):
        fill("ellipse", eye, f"{side}e")
        fill("rectangle", (eye[0] - 8, 196, eye[2] + 8, 212), f"{side}b")
    fill("ellipse", NOSE, "nose")
    fill("rectangle", MOUTH, "llip")
    fill("rectangle", (*MOUTH[:3], OPENING[1]), "ulip")
    fill("rectangle", OPENING, "imouth")
    return np.asarray(picture)


@pytest.fixture(params=["lapa", "celebm"])
def farl(request: pytest.FixtureRequest) -> FaRLParser:
    return request.getfixturevalue(request.param)


def test_every_class_belongs_to_its_region(farl: FaRLParser, drawn: np.ndarray, face: Face) -> None:
    regions = farl.regions(drawn, face)
    boxes = {
        "lips": (shrink_box((196, 376, 316, 392)), shrink_box((200, 347, 312, 361), 3)),
        "skin": (shrink_box(NOSE, 12), np.s_[300:330, 140:180], np.s_[130:170, 220:290]),
        "brows": (shrink_box((152, 196, 232, 212)), shrink_box((280, 196, 360, 212))),
        "eyes": (np.s_[258:262, 175:210], np.s_[224:230, 300:340]),
    }
    for region, places in boxes.items():
        for place in places:
            assert regions[region][place].min() > (0.9 if region == "eyes" else 0.98), region
            assert max(regions[other][place].max() for other in REGIONS if other != region) < 0.1, region
    mouth_and_eyeballs = [shrink_box(OPENING), *(shrink_box(eye, 8) for eye in EYES)]
    hair_and_background = [np.s_[50:70, 220:280], np.s_[:20], np.s_[:, :80]]
    for window in mouth_and_eyeballs + hair_and_background:
        assert not regions.total_mask[window].any()  # exactly 0


def test_glasses_and_neck_are_not_skin(
    celebm: FaRLParser, drawn: np.ndarray, face: Face, shades: dict[str, np.ndarray]
) -> None:
    picture = drawn.copy()
    picture[262:272, 150:360], picture[470:] = shades["eyeg"], shades["neck"]
    total = celebm.regions(picture, face).total_mask
    assert not total[264:270, 160:350].any() and not total[475:].any()


def test_the_mask_of_a_mixed_pixel_is_its_class_probability(
    lapa: FaRLParser, drawn: np.ndarray, face: Face, shades: dict[str, np.ndarray]
) -> None:
    """Averaged integer labels would give a third class between the two; probabilities do not."""
    picture = drawn.copy()
    place = np.s_[300:330, 140:180]
    for weight in (0.4, 0.5, 0.6):
        mixed = np.round(weight * shades["face"] + (1 - weight) * shades["background"])
        picture[place] = mixed
        likeness = {name: np.exp(-80 * np.square((mixed - shades[name]) / 255).sum()) for name in LAPA}
        probability = (likeness["face"] + likeness["nose"]) / sum(likeness.values())
        regions = lapa.regions(picture, face)
        expected = (probability - MIN_CLASS_PROBABILITY) / (1 - 2 * MIN_CLASS_PROBABILITY)
        assert np.allclose(regions["skin"][shrink_box((140, 300, 180, 330))], expected, atol=0.02)
        assert regions["brows"][place].max() < 0.02 and regions["lips"][place].max() < 0.02


def test_masks_are_zero_outside_the_field_of_view(celebm: FaRLParser, template: np.ndarray) -> None:
    """Outside the square that celebm cuts out, logits of 0 would make all classes equally likely."""
    skin = np.full((512, 512, 3), (204, 153, 128), np.uint8)
    regions = celebm.regions(skin, Face(template * 0.4 + 20, 120.0, 1.0))
    (probabilities,) = celebm.predict_probabilities([skin], [regions.face])
    assert not probabilities[:, 300:].any() and not probabilities[:, :, 300:].any()
    assert regions["skin"][80:180, 80:180].min() > 0.9
    assert not regions.total_mask[300:].any() and not regions.total_mask[:, 300:].any()


@pytest.mark.parametrize("level", [0, 1, 255])
def test_the_value_range_is_not_guessed(level: int, farl: FaRLParser, template: np.ndarray) -> None:
    """facer takes a picture with the maximum 1 for one in [0, 1], and rejects a rounded 1.0000001."""
    turned = np.array([[0.93, -0.21, 41.7], [0.21, 0.93, -17.3]])
    for face in (Face(template, 320.0, 1.0), Face(template, 320.0, 1.0).transform(turned)):
        regions = farl.regions(np.full((512, 512, 3), level, np.uint8), face)
        assert np.isfinite(regions.masks).all() and regions["eyes"].max() == 0


def test_a_batch_gives_the_same_as_each_face_alone(
    farl: FaRLParser, drawn: np.ndarray, face: Face, marked_portraits: list[np.ndarray]
) -> None:
    turned = face.transform(np.array([[0.98, -0.17, 40], [0.17, 0.98, -30]]))
    sources, faces = [drawn, *marked_portraits], [face, turned, face]
    together = farl.predict_probabilities(sources, faces)
    assert together.shape[0] == 3 and together.min() >= 0 and together.sum(1).max() < 1 + 1e-5
    for number in range(3):
        (alone,) = farl.predict_probabilities([sources[number]], [faces[number]])
        assert torch.allclose(together[number], alone, atol=1e-5)
    assert not torch.allclose(together[1], together[2], atol=0.1)


def test_parsing_the_same_face_again_gives_the_same_masks(lapa: FaRLParser, drawn: np.ndarray, face: Face) -> None:
    first, *others = (lapa.regions(drawn, face).masks for _ in range(4))
    assert all(np.array_equal(first, other) for other in others)


def test_key_points_are_in_pixels_of_a_large_picture(lapa: FaRLParser, template: np.ndarray) -> None:
    picture = np.full((1500, 2048, 3), 128, np.uint8)
    picture[2 * 250 : 2 * 270, 2 * 250 : 2 * 270] = (0, 255, 0)  # a marker that survives halving
    (face,) = lapa.detect(picture)
    assert np.abs(face.key_points - 2 * template).max() < 1
    assert face.size == pytest.approx(2 * 0.62 * 512, rel=0.01)


# --- The detector's anchors ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def facer_module() -> ModuleType:
    """facer's detector module, imported again without this project's changes."""
    spec = importlib.util.find_spec("facer.face_detection.retinaface")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("size", [(512, 512), (1024, 683), (31, 1000), (7, 5), (1, 1)])
@pytest.mark.parametrize("clip", [False, True])
def test_anchors_equal_those_of_facer_bit_for_bit(size: tuple[int, int], clip: bool, facer_module: ModuleType) -> None:
    box = facer_module.PriorBox({**facer_module.cfg_mnet, "clip": clip}, size)
    expected, anchors = box.generate_anchors(CPU), generate_anchors(box, CPU)
    assert anchors.dtype == expected.dtype and torch.equal(anchors, expected)


def test_detections_equal_those_with_the_anchors_of_facer(
    lapa: FaRLParser, marked_portraits: list[np.ndarray], mark: Callable[..., np.ndarray], facer_module: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from facer.face_detection.retinaface import PriorBox

    pictures = [*marked_portraits, mark(np.full((300, 421, 3), 128, np.uint8), row=4, column=7, small=True)]
    assert PriorBox.generate_anchors is generate_anchors
    detections = [lapa.detect(picture) for picture in pictures]
    monkeypatch.setattr(PriorBox, "generate_anchors", facer_module.PriorBox.generate_anchors)
    for picture, faces in zip(pictures, detections, strict=True):
        for ours, theirs in zip(faces, lapa.detect(picture), strict=True):
            assert np.array_equal(ours.key_points, theirs.key_points) and ours.size == theirs.size
    assert [len(faces) for faces in detections] == [1, 1, 1]


# --- Eyes and outline ------------------------------------------------------------------------------------


def draw_eyeballs() -> np.ndarray:
    picture = Image.new("L", (512, 512))
    for eye in EYES:
        ImageDraw.Draw(picture).ellipse(eye, fill=255)
    return np.asarray(picture, np.float32) / 255


def test_the_eye_ring_fades_out_and_is_higher_above_than_below(face: Face) -> None:
    ring = draw_eye_ring(draw_eyeballs(), face)
    below, above = ring[255:400, 192], ring[233:100:-1, 192]
    for side, reach in ((below, LOWER_LID_HEIGHT_UNITS), (above, UPPER_LID_HEIGHT_UNITS)):
        assert (np.diff(side) <= 1e-6).all() and side[0] > 0.99
        assert np.flatnonzero(side)[-1] == pytest.approx(reach * face.unit_px, abs=3)


def test_the_eye_ring_rotates_with_the_face(face: Face) -> None:
    upright = draw_eye_ring(draw_eyeballs(), face)
    upside_down = Face(512 - face.key_points, face.size, 1.0)
    assert np.allclose(draw_eye_ring(draw_eyeballs()[::-1, ::-1], upside_down)[::-1, ::-1], upright, atol=0.02)


def test_an_eye_that_is_not_seen_has_no_eye_ring(face: Face) -> None:
    one = draw_eyeballs()
    one[:, 256:] = 0
    ring = draw_eye_ring(one, face)
    assert ring[:, :256].any() and not ring[:, 300:].any()
    assert not draw_eye_ring(np.zeros_like(one), face).any()


def test_the_face_outline_includes_a_covered_part(face: Face) -> None:
    y, x = np.mgrid[:512, :512]
    oval = (((x - 256) / 140) ** 2 + ((y - 275) / 185) ** 2 < 1).astype(np.float32)
    assert np.abs(draw_face_outline(oval, face) - oval).mean() < 0.005
    strip = oval * (y < 300)  # a veil covers the face below the nose
    veiled = draw_face_outline(strip, face)
    assert veiled[365, 190:320].min() > 0.4 and veiled[300:].sum() > 5000
    assert (strip - veiled).clip(0).mean() < 0.002
    assert draw_face_outline(np.zeros_like(oval), face).sum() > 1000  # the key points alone


def test_specks_do_not_belong_to_the_face(
    lapa: FaRLParser, drawn: np.ndarray, face: Face, shades: dict[str, np.ndarray]
) -> None:
    picture = drawn.copy()
    for row, column in ((20, 20), (20, 490), (480, 30), (490, 480)):
        picture[row - 8 : row + 8, column - 8 : column + 8] = shades["face"]
    specked, clean = lapa.regions(picture, face), lapa.regions(drawn, face)
    assert np.abs(specked.masks - clean.masks).max() < 0.05 and np.abs(specked.oval - clean.oval).max() < 0.05


def test_a_covered_face_is_rejected(
    lapa: FaRLParser,
    drawn: np.ndarray,
    mark: Callable[..., np.ndarray],
    shades: dict[str, np.ndarray],
    tmp_path: Path,
) -> None:
    covered = drawn.copy()
    covered[drawn.shape[0] // 3 :] = shades["hair"]
    for name, picture in (("bare.png", drawn), ("covered.png", covered)):
        Image.fromarray(mark(picture)).save(tmp_path / name)
    dataset = FaceDataset("folder", tmp_path, True)
    (bare,), (refused,) = (prepare_faces(dataset, name, lapa, "largest") for name in dataset.paths)
    assert not isinstance(bare, SourceError) and bare.regions.visible_share > 0.7
    assert isinstance(refused, SourceError) and refused.stage == "parse" and "face hidden" in refused.reason


# --- facer and its files ------------------------------------------------------------------------------------


def test_opening_the_parser_does_not_change_cudnn_settings(open_farl: Callable[[str], FaRLParser]) -> None:
    assert torch.backends.cudnn.benchmark is False
    open_farl("lapa")
    assert torch.backends.cudnn.benchmark is False


@pytest.mark.parametrize(("labels", "other", "classes"), [("lapa", "celebm", 19), ("celebm", "lapa", 11)])
def test_weights_of_the_other_label_set_are_rejected(
    labels: str, other: str, classes: int, parser_files: dict[str, Path], detector_file: Path
) -> None:
    with pytest.raises(OptionError, match=rf"^labels={labels}: has \d+ classes and the parser .*\.pt has {classes};"):
        FaRLParser(labels, str(parser_files[other]), str(detector_file), CPU)


@pytest.mark.filterwarnings("ignore:'torch.load' received a zip file")
def test_another_network_is_rejected(detector_file: Path, parser_files: dict[str, Path], tmp_path: Path) -> None:
    file = tmp_path / "other.pt"
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        torch.jit.save(torch.jit.script(nn.Linear(3, 4)), str(file))
    with pytest.raises(OptionError, match=r"^weights=.*other\.pt: not a FaRL parser"):
        FaRLParser("lapa", str(file), str(detector_file), CPU)
    with pytest.raises(OptionError, match=r"^detector_weights: .*lapa\.pt cannot be read"):
        FaRLParser("lapa", str(parser_files["lapa"]), str(parser_files["lapa"]), CPU)


class Failing(nn.Module):
    """Fails as where memory is lacking on a picture that is as red as ``limit``, and otherwise on a green one."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = torch.zeros(images.shape[0], 11, 448, 448)
        fits = images[:, 0].max() < self.limit
        logits = torch._functional_assert_async(fits, "CUDA out of memory. Tried to allocate 2.00 GiB", logits)
        return torch._functional_assert_async(images[:, 1].max() < 1, "an operation failed", logits), images


@pytest.fixture
def open_failing(detector_file: Path, tmp_path: Path) -> Callable[[float], FaRLParser]:
    def make(limit: float) -> FaRLParser:
        file = tmp_path / "failing.pt"
        with warnings.catch_warnings(action="ignore", category=FutureWarning):
            torch.jit.save(torch.jit.script(Failing(limit)), str(file))
        return FaRLParser("lapa", str(file), str(detector_file), CPU)

    return make


def test_out_of_memory_differs_from_other_failures(open_failing: Callable[[float], FaRLParser], face: Face) -> None:
    """TorchScript's interpreter turns every error of torch into a plain RuntimeError."""
    parser = open_failing(1.0)
    red, green = np.zeros((2, 512, 512, 3), np.uint8)
    red[..., 0] = green[..., 1] = 255
    with pytest.raises(torch.OutOfMemoryError, match=r"^CUDA out of memory\. Tried to allocate 2\.00 GiB$"):
        parser.regions(red, face)
    with pytest.raises(RuntimeError, match="an operation failed") as other:
        parser.regions(green, face)
    assert not isinstance(other.value, torch.OutOfMemoryError)


def test_a_device_without_memory_for_the_parser_is_reported(open_failing: Callable[[float], FaRLParser]) -> None:
    with pytest.raises(OptionError, match=r"^name=farl: FaRL does not fit into the memory of cpu; .*the mesh parser$"):
        open_failing(0.0)


def test_the_message_without_facer_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "facer", None)
    with pytest.raises(OptionError, match=r"^name=farl: facer cannot be imported.*pip install pyfacer.*mesh parser$"):
        FaRLParser("lapa", None, None, CPU)


def test_the_message_without_libgl_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    message = "libGL.so.1: cannot open shared object file: No such file or directory"
    (tmp_path / "cv2.py").write_text(f"raise ImportError({message!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] in ("cv2", "facer")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(OptionError, match=r"libGL\.so\.1.*apt-get install libgl1.*the mesh parser$"):
        FaRLParser("lapa", None, None, CPU)
