"""What every parser must do, whatever it is made of."""

import importlib
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from dda.errors import SourceError, UserError
from dda.faces.alignment import ALIGNED_SIZE, invert, resample
from dda.faces.dataset import FaceDataset
from dda.faces.parsing.mesh import MeshParser
from dda.faces.parsing.parser import FaceParser, open_parser, parser_settings
from dda.faces.preparation import PreparedFace, prepare
from dda.images import read_image, resize

FFHQ_SAMPLE = Path(__file__).parents[4] / "shared" / "data" / "ffhq_sample"


@pytest.fixture(scope="module", params=["mesh", "lapa"], ids=["mesh", "farl"])
def any_parser(request: pytest.FixtureRequest) -> FaceParser:
    return MeshParser() if request.param == "mesh" else request.getfixturevalue(request.param)


@pytest.fixture(scope="module", params=[0, 1], ids=["astronaut", "hopper"])
def picture(request: pytest.FixtureRequest, marked_portraits: list[np.ndarray]) -> np.ndarray:
    return marked_portraits[request.param]


@pytest.fixture(scope="module")
def couple(portraits: list[PreparedFace], marked: Callable[..., np.ndarray]) -> np.ndarray:
    """A smaller face to the left of a larger one."""
    both = np.zeros((512, 800, 3), np.uint8)
    both[8:264, 8:264] = resize(portraits[0].source, (256, 256))
    both[:, 288:] = portraits[1].source
    return marked(marked(both, row=4, column=4, small=True), row=8, column=17)


def test_a_face_has_two_eyes_over_a_mouth(any_parser: FaceParser, picture: np.ndarray) -> None:
    (face,) = any_parser.detect(picture)
    (left, right), (corner_0, corner_1) = face.eyes, face.mouth_corners
    assert left[0] < right[0] and corner_0[0] < corner_1[0]
    assert max(left[1], right[1]) < min(corner_0[1], corner_1[1])
    assert abs(face.yaw) < 20 and 0 < face.score <= 1 and 200 < face.size < 400


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (700, 2), (300, 200), (1100, 1500)])
@pytest.mark.parametrize("level", [0, 1, 255])
def test_a_picture_without_a_face_has_none(shape: tuple[int, int], level: int, any_parser: FaceParser) -> None:
    assert any_parser.detect(np.full((*shape, 3), level, np.uint8)) == []


def test_of_several_faces_the_largest_comes_first(any_parser: FaceParser, couple: np.ndarray) -> None:
    first, second = any_parser.detect(couple)
    assert first.size > second.size
    assert first.eyes[0][0] > 288 > second.eyes[1][0]


def test_masks_are_disjoint_shares_of_the_picture(any_parser: FaceParser, picture: np.ndarray) -> None:
    regions = any_parser.regions(picture, any_parser.detect(picture)[0])
    assert regions.masks.shape == (4, ALIGNED_SIZE, ALIGNED_SIZE) and regions.masks.dtype == np.float32
    assert regions.masks.min() >= 0 and regions.total.max() <= 1 + 1e-6
    assert 0.1 < (regions.total == 0).mean() < 0.9  # law 3 needs a background that is exactly 0
    assert regions["skin"].mean() > 0.1
    assert regions.oval.shape == regions.total.shape and regions.oval.min() >= 0 and regions.oval.max() <= 1
    assert 0 < regions.visible <= 1


def test_parsing_leaves_the_picture_and_the_face_as_they_are(any_parser: FaceParser, picture: np.ndarray) -> None:
    before, (face,) = picture.copy(), any_parser.detect(picture)
    points = face.key_points.copy()
    regions = any_parser.regions(picture, face)
    assert regions.face is face
    assert np.array_equal(picture, before) and np.array_equal(face.key_points, points)


def test_threads_share_a_parser(any_parser: FaceParser, marked_portraits: list[np.ndarray]) -> None:
    def parsed(picture: np.ndarray) -> np.ndarray:
        return any_parser.regions(picture, any_parser.detect(picture)[0]).masks

    alone = [parsed(picture) for picture in marked_portraits]
    with ThreadPoolExecutor(3) as pool:
        for number, masks in enumerate(pool.map(parsed, marked_portraits * 2)):
            assert np.array_equal(masks, alone[number % 2])


def test_masks_move_with_the_picture(any_parser: FaceParser, picture: np.ndarray) -> None:
    (face,) = any_parser.detect(picture)
    matrix = np.array([[0.98, -0.17, 40], [0.17, 0.98, -30]])
    skin = any_parser.regions(picture, face)["skin"]
    moved = any_parser.regions(resample(picture, matrix, ALIGNED_SIZE), face.moved(invert(matrix)))["skin"]
    levels = np.repeat(np.round(skin * 255).astype(np.uint8)[..., None], 3, 2)
    expected = resample(levels, matrix, ALIGNED_SIZE)[..., 0] / 255
    assert np.minimum(moved, expected).sum() > 0.85 * np.maximum(moved, expected).sum()


def test_prepare_takes_any_parser(any_parser: FaceParser, couple: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(couple).save(tmp_path / "couple.png")
    Image.new("RGB", (300, 300), "gray").save(tmp_path / "gray.png")
    photos = FaceDataset("folder", tmp_path, False)
    faces = prepare(photos, "couple.png", any_parser, "all")
    assert [face.index for face in faces if isinstance(face, PreparedFace)] == [0, 1]
    (largest,) = prepare(photos, "couple.png", any_parser, "largest")
    assert isinstance(largest, PreparedFace) and isinstance(faces[0], PreparedFace)
    assert np.array_equal(largest.regions.masks, faces[0].regions.masks)
    with pytest.raises(SourceError, match="2 faces"):
        prepare(photos, "couple.png", any_parser, "reject")
    with pytest.raises(SourceError, match="no face"):
        prepare(photos, "gray.png", any_parser, "largest")


@pytest.mark.skipif(not FFHQ_SAMPLE.is_dir(), reason=f"no FFHQ pictures in {FFHQ_SAMPLE}")
def test_ffhq_pictures_are_parsed(any_parser: FaceParser, marked: Callable[..., np.ndarray], tmp_path: Path) -> None:
    files = sorted(FFHQ_SAMPLE.rglob("*.png"))
    assert files
    for file in files:
        picture = marked(resize(read_image(file), (ALIGNED_SIZE, ALIGNED_SIZE)))
        Image.fromarray(picture).save(tmp_path / file.name)
        (face,) = prepare(FaceDataset("ffhq", tmp_path, True), file.name, any_parser, "largest")
        assert isinstance(face, PreparedFace)
        assert np.array_equal(face.source, picture)
        assert face.regions["skin"].mean() > 0.1 and face.regions.total.max() <= 1 + 1e-6


def test_the_configuration_opens_the_parser_it_names(parser_files: dict[str, Path], detector_file: Path) -> None:
    def config(name: str, labels: str | None = "lapa", weights: str = "lapa") -> DictConfig:
        files = {"weights": str(parser_files[weights]), "detector_weights": str(detector_file)}
        return OmegaConf.create({"name": name, "labels": labels, **files})

    def opened(*choice: str | None) -> FaceParser:
        return open_parser(config(*choice), torch.device("cpu"))

    assert isinstance(opened("mesh"), MeshParser)
    assert type(opened("farl")).__name__ == "FaRLParser"
    with pytest.raises(UserError, match=r"parser\.labels: must be given"):
        opened("farl", None)
    settings = [parser_settings(config("farl", labels, labels)) for labels in ("lapa", "celebm", "lapa")]
    assert settings[0] == settings[2] != settings[1]
    assert settings[0] | {"weights": None} == settings[1] | {"weights": None, "labels": "lapa"}


def test_the_mesh_does_without_facer_and_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("facer", "cv2"):
        monkeypatch.setitem(sys.modules, package, None)  # now they cannot be imported
    for module in ("farl", "parser", "prepare"):
        monkeypatch.delitem(sys.modules, f"dda.faces.{module}", raising=False)
        monkeypatch.delattr(f"dda.faces.{module}", raising=False)
    prepare, parser = (importlib.import_module(f"dda.faces.{module}") for module in ("prepare", "parser"))
    assert prepare.FaceParser is parser.FaceParser is not FaceParser
    parser.open_parser(OmegaConf.create({"name": "mesh"}), torch.device("cpu"))
