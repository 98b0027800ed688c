import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dda.errors import SourceError
from dda.faces.alignment import ALIGNED_SIZE
from dda.faces.dataset import FaceDataset
from dda.faces.parsing.mesh import MeshParser
from dda.faces.preparation import PreparedFace, prepare_faces
from dda.images import hash_image, read_image

PORTRAITS = Path(__file__).parents[3] / "shared" / "data" / "portraits"

Prepare = Callable[..., list[PreparedFace | SourceError]]


@pytest.fixture
def prepare(tmp_path: Path, parser: MeshParser) -> Prepare:
    """``prepare(picture, faces, aligned)``: the faces of a picture, given as an array or as the bytes of its file."""

    def prepare_picture(
        picture: np.ndarray | bytes | None, faces: str = "largest", aligned: bool = False
    ) -> list[PreparedFace | SourceError]:
        file = tmp_path / "picture.png"
        if isinstance(picture, bytes):
            file.write_bytes(picture)
        elif picture is not None:
            Image.fromarray(picture).save(file)
        return prepare_faces(FaceDataset("folder", tmp_path, aligned), file.name, parser, faces)

    return prepare_picture


def resize_square(picture: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))


def get_only(faces: list[PreparedFace | SourceError]) -> PreparedFace:
    (face,) = faces
    assert isinstance(face, PreparedFace)
    return face


def test_a_photo_becomes_an_aligned_face(prepare: Prepare, astronaut: np.ndarray) -> None:
    face = get_only(prepare(astronaut))
    assert face.index == 0
    assert face.source.shape == (ALIGNED_SIZE, ALIGNED_SIZE, 3) and face.source.dtype == np.uint8
    left, right = face.regions.face.eye_centers
    assert abs(left[1] - right[1]) < 12 and abs((left[0] + right[0]) / 2 - 256) < 20  # upright and centered
    assert 100 < right[0] - left[0] < 180
    assert face.regions.masks.shape == (4, ALIGNED_SIZE, ALIGNED_SIZE)


def test_the_png_and_the_hash_are_of_the_same_pixels(prepare: Prepare, astronaut: np.ndarray) -> None:
    face = get_only(prepare(astronaut))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(face.source_png))), face.source)
    assert face.content_hash == hash_image(face.source)
    assert len(face.content_hash) == hashlib.sha256().digest_size * 2
    assert get_only(prepare(astronaut)).content_hash == face.content_hash
    assert get_only(prepare(astronaut[:, ::-1].copy())).content_hash != face.content_hash


def test_an_aligned_picture_is_used_unchanged(prepare: Prepare, portraits: list[PreparedFace]) -> None:
    picture = portraits[0].source
    assert np.array_equal(get_only(prepare(picture, aligned=True)).source, picture)


def test_the_middle_square_of_an_aligned_picture_is_used(prepare: Prepare, portraits: list[PreparedFace]) -> None:
    picture = portraits[0].source
    wide = np.pad(picture, ((0, 0), (40, 40), (0, 0)))
    assert np.array_equal(get_only(prepare(wide, aligned=True)).source, picture)
    larger = np.asarray(Image.fromarray(picture).resize((1024, 1024), Image.Resampling.BICUBIC))
    assert np.abs(get_only(prepare(larger, aligned=True)).source.astype(int) - picture).mean() < 2


@pytest.mark.parametrize(
    ("picture", "status", "stage", "reason"),
    [
        (np.full((300, 300, 3), 90, np.uint8), "rejected", "detect", "no face"),
        (b"Dear reader", "rejected", "decode", ""),
        (b"", "rejected", "decode", "empty"),
        (None, "failed", "decode", ""),
    ],
    ids=["no face", "text", "empty", "missing"],
)
def test_a_picture_that_cannot_be_used_raises_its_stage_and_reason(
    picture: np.ndarray | bytes | None, status: str, stage: str, reason: str, prepare: Prepare
) -> None:
    with pytest.raises(SourceError) as caught:
        prepare(picture)
    assert (caught.value.status, caught.value.stage) == (status, stage)
    assert reason in caught.value.reason and caught.value.reason and "\n" not in caught.value.reason
    kind = caught.value.reason.partition(":")[0]
    assert not any(character.isdigit() for character in kind)  # reasons are counted by their kind


def test_a_picture_cut_short_is_rejected(prepare: Prepare, photos: Path) -> None:
    with pytest.raises(SourceError) as caught:
        prepare((photos / "bad" / "cut_short.jpg").read_bytes())
    assert (caught.value.status, caught.value.stage) == ("rejected", "decode")


def test_a_photo_without_a_face_is_rejected(photos: Path, prepare: Prepare) -> None:
    with pytest.raises(SourceError, match="no face"):
        prepare(read_image(photos / "bad" / "coffee.png"))


def test_a_small_face_is_rejected(prepare: Prepare, astronaut: np.ndarray) -> None:
    (rejected,) = prepare(resize_square(astronaut, 256))
    assert isinstance(rejected, SourceError)
    assert (rejected.status, rejected.stage) == ("rejected", "align")
    assert "too small" in rejected.reason and "128" in rejected.reason


def test_a_small_aligned_picture_is_rejected(prepare: Prepare, portraits: list[PreparedFace]) -> None:
    with pytest.raises(SourceError, match="too small: 100x100"):
        prepare(resize_square(portraits[0].source, 100), aligned=True)


@pytest.fixture
def couple(astronaut: np.ndarray, hopper: np.ndarray) -> np.ndarray:
    both = np.zeros((len(hopper), 1024, 3), np.uint8)
    both[:512, :512], both[:, 512:] = astronaut, hopper
    return both


def test_the_policy_selects_among_several_faces(
    prepare: Prepare, couple: np.ndarray, portraits: list[PreparedFace]
) -> None:
    astronaut, hopper = portraits

    def measure_difference(face: PreparedFace, other: PreparedFace) -> float:
        return float(np.abs(face.source.astype(int) - other.source)[100:400, 100:400].mean())

    largest = get_only(prepare(couple))
    assert measure_difference(largest, hopper) < measure_difference(largest, astronaut) / 4
    faces = prepare(couple, faces="all")
    assert [face.index for face in faces if isinstance(face, PreparedFace)] == [0, 1]
    assert measure_difference(faces[1], astronaut) < measure_difference(faces[1], hopper) / 4
    with pytest.raises(SourceError, match="several faces: 2 in the picture"):
        prepare(couple, faces="reject")


def test_every_policy_accepts_one_face(prepare: Prepare, astronaut: np.ndarray) -> None:
    hashes = {get_only(prepare(astronaut, faces=policy)).content_hash for policy in ("largest", "all", "reject")}
    assert len(hashes) == 1


def test_a_rejected_face_does_not_affect_the_others(prepare: Prepare, astronaut: np.ndarray) -> None:
    both = np.zeros((512, 800, 3), np.uint8)
    both[:, :512], both[:256, 512:768] = astronaut, resize_square(astronaut, 256)
    first, second = prepare(both, faces="all")
    assert isinstance(first, PreparedFace)
    assert isinstance(second, SourceError) and "too small" in second.reason


@pytest.mark.skipif(not PORTRAITS.is_dir(), reason=f"no portraits at {PORTRAITS}")
def test_a_turned_face_must_be_found_in_its_crop(prepare: Prepare) -> None:
    (rejected,) = prepare((PORTRAITS / "012.jpg").read_bytes())
    assert isinstance(rejected, SourceError)
    assert (rejected.status, rejected.stage) == ("rejected", "detect")
    assert "face turned away: " in rejected.reason and "no face is found in its crop" in rejected.reason
    get_only(prepare((PORTRAITS / "064.jpg").read_bytes()))  # turned almost as far


@pytest.mark.parametrize("part", [np.s_[:135], np.s_[:, 222:], np.s_[110:]], ids=["no mouth", "half a face", "no eyes"])
def test_a_face_cut_off_by_the_edge_is_rejected(
    part: tuple[slice, ...], prepare: Prepare, astronaut: np.ndarray
) -> None:
    cut = np.ascontiguousarray(astronaut[part])
    enlarged = np.asarray(Image.fromarray(cut).resize((4 * cut.shape[1], 4 * cut.shape[0])))
    (rejected,) = prepare(enlarged)
    assert isinstance(rejected, SourceError) and (rejected.status, rejected.stage) == ("rejected", "detect")
    assert "cut off: " in rejected.reason


@pytest.mark.parametrize(
    ("limit", "value", "stage", "reason"),
    [("MAX_YAW_DEG", 0.1, "detect", "turned away"), ("MIN_VISIBLE_SHARE", 0.99, "parse", "face hidden: 8")],
)
def test_a_face_turned_away_or_hidden_is_rejected(
    limit: str, value: float, stage: str, reason: str,
    prepare: Prepare, astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(f"dda.faces.preparation.{limit}", value)
    (rejected,) = prepare(astronaut)
    assert isinstance(rejected, SourceError)
    assert (rejected.status, rejected.stage) == ("rejected", stage) and reason in rejected.reason
