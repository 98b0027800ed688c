import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dda.evaluation.pair_loader import UnusablePair, load_pair, parse_picture
from dda.faces.parsing.mesh import MeshParser
from dda.faces.preparation import PreparedFace
from dda.images import hash_image, resize
from dda.pairs.folder import PairFiles


@pytest.fixture
def files(tmp_path: Path) -> Callable[..., PairFiles]:
    """``files(source, target)``: a pair of pictures on the disk."""

    def write(**pictures: np.ndarray) -> PairFiles:
        paths = {}
        for side, picture in pictures.items():
            paths[side] = tmp_path / f"{side}.png"
            Image.fromarray(picture).save(paths[side])
        return PairFiles("a", paths.get("source"), paths.get("target"), paths.get("oracle"))

    return write


def test_a_pair_is_decoded_and_parsed(
    files: Callable[..., PairFiles], parser: MeshParser, portraits: list[PreparedFace]
) -> None:
    source = portraits[0].source
    target = np.ascontiguousarray(255 - source)

    pair = load_pair(files(source=source, target=target, oracle=source), parser, with_thumbnails=True)

    assert np.array_equal(pair.source, source) and np.array_equal(pair.target, target)
    assert pair.oracle is not None and np.array_equal(pair.oracle, source)
    assert pair.has_face and pair.face == hash_image(source) and pair.shape == (512, 512)
    made = portraits[0].regions.masks
    assert np.abs(pair.masks / 255 - made).mean() < 0.01
    assert set(pair.thumbnails) == {"source", "target", "oracle"}
    assert Image.open(io.BytesIO(pair.thumbnails["target"])).size == (256, 256)


def test_all_makeup_of_a_pair_lies_inside_the_oval_of_its_finished_file(
    parser: MeshParser, portraits: list[PreparedFace]
) -> None:
    for face in portraits:
        _, oval = parse_picture(face.source, parser)
        assert not (face.regions.total_mask > 0)[~oval].any()
        assert oval.mean() < 0.75  # and there is a background left


def test_the_masks_of_a_picture_that_is_not_512_are_those_of_its_face(
    parser: MeshParser, portraits: list[PreparedFace]
) -> None:
    small, oval = parse_picture(portraits[0].source, parser)
    wide = np.zeros((700, 1200, 3), np.uint8)
    wide[50:562, 300:812] = portraits[0].source

    masks, wide_oval = parse_picture(wide, parser)

    assert masks.shape == (4, 700, 1200)
    assert np.abs(masks[:, 50:562, 300:812].astype(int) - small).mean() < 4
    both = (wide_oval[50:562, 300:812] & oval).sum() / (wide_oval[50:562, 300:812] | oval).sum()
    assert both > 0.9
    outside = masks.copy()
    outside[:, 50:562, 300:812] = 0
    assert outside.mean() < 0.5


def test_a_picture_without_a_face_has_empty_masks(files: Callable[..., PairFiles], parser: MeshParser) -> None:
    gray = np.full((64, 96, 3), 128, np.uint8)
    pair = load_pair(files(source=gray, target=gray), parser, with_thumbnails=False)
    assert not pair.has_face and not pair.masks.any() and not pair.oval.any()
    assert pair.masks.shape == (4, 64, 96) and pair.thumbnails == {}


def test_pictures_of_a_camera_are_measured_at_a_smaller_size(
    files: Callable[..., PairFiles], parser: MeshParser, portraits: list[PreparedFace]
) -> None:
    source = resize(portraits[0].source, (1536, 2048))
    target = source.copy()
    target[100:1400, 100:1900] //= 2

    pair = load_pair(files(source=source, target=target, oracle=target), parser, with_thumbnails=False)

    assert pair.shape == (768, 1024) and pair.target.shape == (768, 1024, 3) and pair.masks.shape == (4, 768, 1024)
    assert pair.oracle is not None and np.array_equal(pair.oracle, pair.target)
    assert pair.face == hash_image(source)  # of the file, whatever it is measured at
    assert np.array_equal(pair.source[:40], pair.target[:40])  # what was not painted is still equal

    strip = np.full((40, 4000, 3), 128, np.uint8)
    assert load_pair(files(source=strip, target=strip), parser, with_thumbnails=False).shape == (32, 3200)


def test_an_oracle_of_another_resolution_is_brought_to_the_sources(
    files: Callable[..., PairFiles], parser: MeshParser, portraits: list[PreparedFace]
) -> None:
    source = portraits[0].source
    pair = load_pair(files(source=source, target=source, oracle=resize(source, (1024, 1024))), parser, False)
    assert pair.oracle is not None and np.abs(pair.oracle.astype(int) - source).mean() < 2


def test_what_cannot_be_measured_says_why(files: Callable[..., PairFiles], parser: MeshParser) -> None:
    gray, small = np.full((64, 96, 3), 128, np.uint8), np.full((32, 96, 3), 128, np.uint8)

    def reason(pair: PairFiles) -> str:
        with pytest.raises(UnusablePair) as error:
            load_pair(pair, parser, with_thumbnails=False)
        return error.value.reason

    assert reason(files(source=gray, target=small)) == "sizes differ: source 96x64, target 96x32"
    assert reason(files(source=gray, target=gray, oracle=small)) == "sizes differ: source 96x64, oracle 96x32"
    assert reason(PairFiles("a", None, None, reason="no source of this name")) == "no source of this name"
    thin = np.full((200, 20, 3), 128, np.uint8)
    assert reason(files(source=thin, target=thin)) == "too small: 20x200 pixels, at least 32 a side are needed"
    torn = files(source=gray, target=gray)
    assert torn.target is not None
    torn.target.write_text("Dear reader")
    assert reason(torn).startswith("target: not a picture: ")
    torn.target.unlink()
    assert reason(torn).startswith("target: cannot be read")
