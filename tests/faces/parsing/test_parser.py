"""Contract of every face parser."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dda.errors import OptionError, SourceError
from dda.faces.alignment import ALIGNED_SIZE, invert_matrix, resample
from dda.faces.dataset import FaceDataset
from dda.faces.parsing.mesh import MeshParser
from dda.faces.parsing.options import FaRLOptions, MeshOptions
from dda.faces.parsing.parser import FaceParser
from dda.faces.preparation import PreparedFace, prepare_faces
from dda.images import read_image, resize
from dda.options import check_limit, fingerprint_options, walk_options
from tests.conftest import ROOT

CPU = torch.device("cpu")
FFHQ_SAMPLE = Path(__file__).parents[4] / "shared" / "data" / "ffhq_sample"


@pytest.fixture(scope="module", params=["mesh", "lapa"], ids=["mesh", "farl"])
def any_parser(request: pytest.FixtureRequest) -> FaceParser:
    return MeshParser() if request.param == "mesh" else request.getfixturevalue(request.param)


@pytest.fixture(scope="module", params=[0, 1], ids=["astronaut", "hopper"])
def picture(request: pytest.FixtureRequest, marked_portraits: list[np.ndarray]) -> np.ndarray:
    return marked_portraits[request.param]


@pytest.fixture(scope="module")
def couple(portraits: list[PreparedFace], mark: Callable[..., np.ndarray]) -> np.ndarray:
    """A smaller face to the left of a larger one."""
    both = np.zeros((512, 800, 3), np.uint8)
    both[8:264, 8:264] = resize(portraits[0].source, (256, 256))
    both[:, 288:] = portraits[1].source
    return mark(mark(both, row=4, column=4, small=True), row=8, column=17)


def test_a_face_has_two_eyes_above_its_mouth(any_parser: FaceParser, picture: np.ndarray) -> None:
    (face,) = any_parser.detect(picture)
    (left, right), (corner_0, corner_1) = face.eye_centers, face.mouth_corners
    assert left[0] < right[0] and corner_0[0] < corner_1[0]
    assert max(left[1], right[1]) < min(corner_0[1], corner_1[1])
    assert abs(face.yaw) < 20 and 0 < face.score <= 1 and 200 < face.size < 400


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (700, 2), (300, 200), (1100, 1500)])
@pytest.mark.parametrize("level", [0, 1, 255])
def test_no_face_gives_an_empty_list(shape: tuple[int, int], level: int, any_parser: FaceParser) -> None:
    assert any_parser.detect(np.full((*shape, 3), level, np.uint8)) == []


def test_the_largest_of_several_faces_comes_first(any_parser: FaceParser, couple: np.ndarray) -> None:
    first, second = any_parser.detect(couple)
    assert first.size > second.size
    assert first.eye_centers[0][0] > 288 > second.eye_centers[1][0]


def test_masks_are_disjoint_and_in_the_unit_range(any_parser: FaceParser, picture: np.ndarray) -> None:
    regions = any_parser.regions(picture, any_parser.detect(picture)[0])
    assert regions.masks.shape == (4, ALIGNED_SIZE, ALIGNED_SIZE) and regions.masks.dtype == np.float32
    assert regions.masks.min() >= 0 and regions.total_mask.max() <= 1 + 1e-6
    assert 0.1 < (regions.total_mask == 0).mean() < 0.9  # law 3 needs a background that is exactly 0
    assert regions["skin"].mean() > 0.1
    assert regions.oval.shape == regions.total_mask.shape and regions.oval.min() >= 0 and regions.oval.max() <= 1
    assert 0 < regions.visible_share <= 1


def test_parsing_does_not_change_the_picture_or_the_face(any_parser: FaceParser, picture: np.ndarray) -> None:
    before, (face,) = picture.copy(), any_parser.detect(picture)
    points = face.key_points.copy()
    regions = any_parser.regions(picture, face)
    assert regions.face is face
    assert np.array_equal(picture, before) and np.array_equal(face.key_points, points)


def test_threads_share_a_parser(any_parser: FaceParser, marked_portraits: list[np.ndarray]) -> None:
    def parse(picture: np.ndarray) -> np.ndarray:
        return any_parser.regions(picture, any_parser.detect(picture)[0]).masks

    alone = [parse(picture) for picture in marked_portraits]
    with ThreadPoolExecutor(3) as pool:
        for number, masks in enumerate(pool.map(parse, marked_portraits * 2)):
            assert np.array_equal(masks, alone[number % 2])


def test_masks_move_with_the_picture(any_parser: FaceParser, picture: np.ndarray) -> None:
    (face,) = any_parser.detect(picture)
    matrix = np.array([[0.98, -0.17, 40], [0.17, 0.98, -30]])
    skin = any_parser.regions(picture, face)["skin"]
    moved = any_parser.regions(resample(picture, matrix, ALIGNED_SIZE), face.transform(invert_matrix(matrix)))["skin"]
    levels = np.repeat(np.round(skin * 255).astype(np.uint8)[..., None], 3, 2)
    expected = resample(levels, matrix, ALIGNED_SIZE)[..., 0] / 255
    assert np.minimum(moved, expected).sum() > 0.85 * np.maximum(moved, expected).sum()


def test_faces_are_prepared_with_any_parser(any_parser: FaceParser, couple: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(couple).save(tmp_path / "couple.png")
    Image.new("RGB", (300, 300), "gray").save(tmp_path / "gray.png")
    photos = FaceDataset("folder", tmp_path, False)
    faces = prepare_faces(photos, "couple.png", any_parser, "all")
    assert [face.index for face in faces if isinstance(face, PreparedFace)] == [0, 1]
    (largest,) = prepare_faces(photos, "couple.png", any_parser, "largest")
    assert isinstance(largest, PreparedFace) and isinstance(faces[0], PreparedFace)
    assert np.array_equal(largest.regions.masks, faces[0].regions.masks)
    with pytest.raises(SourceError, match="several faces: 2 in the picture"):
        prepare_faces(photos, "couple.png", any_parser, "reject")
    with pytest.raises(SourceError, match="no face"):
        prepare_faces(photos, "gray.png", any_parser, "largest")


@pytest.mark.skipif(not FFHQ_SAMPLE.is_dir(), reason=f"no FFHQ pictures in {FFHQ_SAMPLE}")
def test_ffhq_pictures_are_parsed(any_parser: FaceParser, mark: Callable[..., np.ndarray], tmp_path: Path) -> None:
    files = sorted(FFHQ_SAMPLE.rglob("*.png"))
    assert files
    for file in files:
        picture = mark(resize(read_image(file), (ALIGNED_SIZE, ALIGNED_SIZE)))
        Image.fromarray(picture).save(tmp_path / file.name)
        (face,) = prepare_faces(FaceDataset("ffhq", tmp_path, True), file.name, any_parser, "largest")
        assert isinstance(face, PreparedFace)
        assert np.array_equal(face.source, picture)
        assert face.regions["skin"].mean() > 0.1 and face.regions.total_mask.max() <= 1 + 1e-6


def test_options_open_their_parser_and_their_fingerprint_covers_the_weights(
    parser_files: dict[str, Path], detector_file: Path
) -> None:
    def make_options(labels: str) -> FaRLOptions:
        weights, detector_weights = str(parser_files[labels]), str(detector_file)
        return FaRLOptions(labels=labels, weights=weights, detector_weights=detector_weights)

    assert isinstance(MeshOptions().open(CPU), MeshParser)
    assert type(make_options("lapa").open(CPU)).__name__ == "FaRLParser"
    limits = {name: field.metadata["limit"] for name, field in walk_options(FaRLOptions)}
    with pytest.raises(OptionError, match=r"^labels=other: must be one of lapa, celebm$"):
        check_limit("labels", "other", limits["labels"])
    settings = [fingerprint_options(make_options(labels)) for labels in ("lapa", "celebm", "lapa")]
    assert settings[0] == settings[2] != settings[1]
    assert settings[0] | {"weights": None} == settings[1] | {"weights": None, "labels": "lapa"}


def test_the_mesh_parser_needs_neither_facer_nor_opencv() -> None:
    script = (
        "import sys\n"
        "sys.modules.update(facer=None, cv2=None)  # importing them raises ImportError\n"
        "import torch\n"
        "import dda.faces.preparation\n"
        "from dda.faces.parsing.options import MeshOptions\n"
        "MeshOptions().open(torch.device('cpu'))\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
