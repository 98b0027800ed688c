import io
import zlib

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from dda.png import encode_png


def _noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("image", [astronaut(), _noise(1, 1), _noise(3, 7), _noise(64, 1)])
def test_pillow_reads_the_pixels_that_were_packed(image: np.ndarray) -> None:
    with Image.open(io.BytesIO(encode_png(image))) as picture:
        assert picture.format == "PNG" and picture.mode == "RGB"
        assert np.array_equal(np.asarray(picture), image)


def test_a_view_of_a_picture_is_packed_as_it_is_seen() -> None:
    image = _noise(16, 12)
    assert encode_png(image[::-1, ::2]) == encode_png(np.ascontiguousarray(image[::-1, ::2]))


def test_checksums_hold() -> None:
    encoded = encode_png(_noise(5, 4))
    place = len(b"\x89PNG\r\n\x1a\n")
    kinds = []
    while place < len(encoded):
        length = int.from_bytes(encoded[place : place + 4], "big")
        chunk = encoded[place + 4 : place + 8 + length]
        assert zlib.crc32(chunk) == int.from_bytes(encoded[place + 8 + length : place + 12 + length], "big")
        kinds.append(chunk[:4])
        place += 12 + length
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]


def test_a_photo_takes_no_more_room_than_pillow_gives_it() -> None:
    by_pillow = io.BytesIO()
    Image.fromarray(astronaut()).save(by_pillow, "PNG", compress_level=1)
    assert len(encode_png(astronaut())) <= len(by_pillow.getvalue())


def test_the_same_pixels_give_the_same_bytes() -> None:
    assert encode_png(astronaut()) == encode_png(astronaut().copy())
