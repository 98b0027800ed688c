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
def look(tmp_path: Path, parser: MeshParser) -> Prepare:
    """Prepare one picture, given as an array or as the bytes of its file."""

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


def shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.LANCZOS))


def only(found: list[PreparedFace | SourceError]) -> PreparedFace:
    (face,) = found
    assert isinstance(face, PreparedFace)
    return face


def test_a_photo_becomes_an_aligned_face(look: Prepare, astronaut: np.ndarray) -> None:
    face = only(look(astronaut))
    assert face.index == 0
    assert face.source.shape == (ALIGNED_SIZE, ALIGNED_SIZE, 3) and face.source.dtype == np.uint8
    left, right = face.regions.face.eye_centers
    assert abs(left[1] - right[1]) < 12 and abs((left[0] + right[0]) / 2 - 256) < 20  # upright, in the middle
    assert 100 < right[0] - left[0] < 180
    assert face.regions.masks.shape == (4, ALIGNED_SIZE, ALIGNED_SIZE)


def test_its_file_and_hash_are_those_of_its_pixels(look: Prepare, astronaut: np.ndarray) -> None:
    face = only(look(astronaut))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(face.source_png))), face.source)
    assert face.content_hash == hash_image(face.source)
    assert len(face.content_hash) == hashlib.sha256().digest_size * 2
    assert only(look(astronaut)).content_hash == face.content_hash
    assert only(look(astronaut[:, ::-1].copy())).content_hash != face.content_hash


def test_an_aligned_picture_is_used_as_it_is(look: Prepare, portraits: list[PreparedFace]) -> None:
    picture = portraits[0].source
    assert np.array_equal(only(look(picture, aligned=True)).source, picture)


def test_of_an_aligned_picture_the_middle_square_is_taken(look: Prepare, portraits: list[PreparedFace]) -> None:
    picture = portraits[0].source
    wide = np.pad(picture, ((0, 0), (40, 40), (0, 0)))
    assert np.array_equal(only(look(wide, aligned=True)).source, picture)
    larger = np.asarray(Image.fromarray(picture).resize((1024, 1024), Image.Resampling.BICUBIC))
    assert np.abs(only(look(larger, aligned=True)).source.astype(int) - picture).mean() < 2


@pytest.mark.parametrize(
    ("picture", "status", "stage", "reason"),
    [
        (np.full((300, 300, 3), 90, np.uint8), "rejected", "detect", "no face"),
        (b"Dear reader", "rejected", "decode", ""),
        (b"", "rejected", "decode", "empty"),
        (None, "failed", "decode", ""),
    ],
    ids=["no face", "text", "empty", "gone"],
)
def test_a_picture_that_cannot_be_used_says_where_and_why(
    picture: np.ndarray | bytes | None, status: str, stage: str, reason: str, look: Prepare
) -> None:
    with pytest.raises(SourceError) as caught:
        look(picture)
    assert (caught.value.status, caught.value.stage) == (status, stage)
    assert reason in caught.value.reason and caught.value.reason and "\n" not in caught.value.reason


def test_a_picture_cut_short_is_rejected(look: Prepare, photos: Path) -> None:
    with pytest.raises(SourceError) as caught:
        look((photos / "bad" / "cut_short.jpg").read_bytes())
    assert (caught.value.status, caught.value.stage) == ("rejected", "decode")


def test_a_photo_of_things_has_no_face(photos: Path, look: Prepare) -> None:
    with pytest.raises(SourceError, match="no face"):
        look(read_image(photos / "bad" / "coffee.png"))


def test_a_face_of_few_pixels_is_rejected(look: Prepare, astronaut: np.ndarray) -> None:
    (refused,) = look(shrunk(astronaut, 256))
    assert isinstance(refused, SourceError)
    assert (refused.status, refused.stage) == ("rejected", "align")
    assert "too small" in refused.reason and "128" in refused.reason


def test_an_aligned_picture_of_few_pixels_is_rejected(look: Prepare, portraits: list[PreparedFace]) -> None:
    with pytest.raises(SourceError, match="too small: 100x100"):
        look(shrunk(portraits[0].source, 100), aligned=True)


@pytest.fixture
def couple(astronaut: np.ndarray, hopper: np.ndarray) -> np.ndarray:
    both = np.zeros((len(hopper), 1024, 3), np.uint8)
    both[:512, :512], both[:, 512:] = astronaut, hopper
    return both


def test_of_several_faces_the_policy_chooses(look: Prepare, couple: np.ndarray, portraits: list[PreparedFace]) -> None:
    astronaut, hopper = portraits

    def apart(face: PreparedFace, other: PreparedFace) -> float:
        return float(np.abs(face.source.astype(int) - other.source)[100:400, 100:400].mean())

    largest = only(look(couple))
    assert apart(largest, hopper) < apart(largest, astronaut) / 4
    faces = look(couple, faces="all")
    assert [face.index for face in faces if isinstance(face, PreparedFace)] == [0, 1]
    assert apart(faces[1], astronaut) < apart(faces[1], hopper) / 4
    with pytest.raises(SourceError, match="several faces: 2 in the picture"):
        look(couple, faces="reject")


def test_one_face_passes_every_policy(look: Prepare, astronaut: np.ndarray) -> None:
    hashes = {only(look(astronaut, faces=policy)).content_hash for policy in ("largest", "all", "reject")}
    assert len(hashes) == 1


def test_a_refused_face_does_not_take_the_others_along(look: Prepare, astronaut: np.ndarray) -> None:
    both = np.zeros((512, 800, 3), np.uint8)
    both[:, :512], both[:256, 512:768] = astronaut, shrunk(astronaut, 256)
    first, second = look(both, faces="all")
    assert isinstance(first, PreparedFace)
    assert isinstance(second, SourceError) and "too small" in second.reason


@pytest.mark.skipif(not PORTRAITS.is_dir(), reason=f"no portraits at {PORTRAITS}")
def test_a_profile_is_looked_for_again_in_its_crop(look: Prepare) -> None:
    (guessed,) = look((PORTRAITS / "012.jpg").read_bytes())
    assert isinstance(guessed, SourceError)
    assert (guessed.status, guessed.stage) == (
        "rejected",
        "detect",
    ) and "no face is found in its crop" in guessed.reason
    only(look((PORTRAITS / "064.jpg").read_bytes()))  # turned nearly as far


@pytest.mark.parametrize("part", [np.s_[:135], np.s_[:, 222:], np.s_[110:]], ids=["no mouth", "half a face", "no eyes"])
def test_a_face_that_the_picture_cuts_off_is_rejected(
    part: tuple[slice, ...], look: Prepare, astronaut: np.ndarray
) -> None:
    cut = np.ascontiguousarray(astronaut[part])
    enlarged = np.asarray(Image.fromarray(cut).resize((4 * cut.shape[1], 4 * cut.shape[0])))
    (refused,) = look(enlarged)
    assert isinstance(refused, SourceError) and (refused.status, refused.stage) == ("rejected", "detect")
    assert "cut off: " in refused.reason


@pytest.mark.parametrize(
    ("limit", "value", "stage", "reason"),
    [("MAX_YAW_DEG", 0.1, "detect", "turned away"), ("MIN_VISIBLE_SHARE", 0.99, "parse", "face hidden: 8")],
)
def test_a_face_turned_away_or_hidden_is_rejected(
    limit: str, value: float, stage: str, reason: str,
    look: Prepare, astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(f"dda.faces.preparation.{limit}", value)
    (refused,) = look(astronaut)
    assert isinstance(refused, SourceError)
    assert (refused.status, refused.stage) == ("rejected", stage) and reason in refused.reason
