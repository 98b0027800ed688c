import io
import zlib

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut

from dda.png import encode_png


def _make_noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("image", [astronaut(), _make_noise(1, 1), _make_noise(3, 7), _make_noise(64, 1)])
def test_pillow_decodes_the_encoded_pixels(image: np.ndarray) -> None:
    with Image.open(io.BytesIO(encode_png(image))) as picture:
        assert picture.format == "PNG" and picture.mode == "RGB"
        assert np.array_equal(np.asarray(picture), image)


def test_a_strided_view_is_encoded_like_its_copy() -> None:
    image = _make_noise(16, 12)
    assert encode_png(image[::-1, ::2]) == encode_png(np.ascontiguousarray(image[::-1, ::2]))


def test_checksums_are_correct() -> None:
    encoded = encode_png(_make_noise(5, 4))
    offset = len(b"\x89PNG\r\n\x1a\n")
    kinds = []
    while offset < len(encoded):
        length = int.from_bytes(encoded[offset : offset + 4], "big")
        chunk = encoded[offset + 4 : offset + 8 + length]
        assert zlib.crc32(chunk) == int.from_bytes(encoded[offset + 8 + length : offset + 12 + length], "big")
        kinds.append(chunk[:4])
        offset += 12 + length
    assert kinds == [b"IHDR", b"IDAT", b"IEND"]


def test_the_file_of_a_photo_is_no_larger_than_pillows() -> None:
    by_pillow = io.BytesIO()
    Image.fromarray(astronaut()).save(by_pillow, "PNG", compress_level=1)
    assert len(encode_png(astronaut())) <= len(by_pillow.getvalue())


def test_the_same_pixels_give_the_same_bytes() -> None:
    assert encode_png(astronaut()) == encode_png(astronaut().copy())
