"""PNG encoding, several times as fast as Pillow's and no larger."""

import struct

import numpy as np
from isal import isal_zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BIT_DEPTH, _RGB = 8, 2
_AVERAGE_FILTER = 3


def encode_png(image: np.ndarray) -> bytes:
    """Encode uint8 (H, W, 3) RGB as the bytes of a PNG file (ISO/IEC 15948).

    Every row has the Average filter. Pillow tries all filters on every row, which takes half of its time; on photos the
    files are no smaller.
    """
    height, width, _ = image.shape
    header = struct.pack(">2I5B", width, height, _BIT_DEPTH, _RGB, 0, 0, 0)
    data = isal_zlib.compress(_apply_average_filter(image), isal_zlib.ISAL_DEFAULT_COMPRESSION)
    return _SIGNATURE + _pack_chunk(b"IHDR", header) + _pack_chunk(b"IDAT", data) + _pack_chunk(b"IEND", b"")


def _apply_average_filter(image: np.ndarray) -> np.ndarray:
    """Return rows (H, 1 + 3 W): the filter's number, then each value minus the mean of its left and upper neighbors."""
    padded = np.pad(image, ((1, 0), (1, 0), (0, 0)))
    above, left = padded[:-1, 1:], padded[1:, :-1]
    mean = (above & left) + ((above ^ left) >> 1)  # rounded down, without overflow of uint8
    rows = (image - mean).reshape(len(image), -1)
    return np.pad(rows, ((0, 0), (1, 0)), constant_values=_AVERAGE_FILTER)


def _pack_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", isal_zlib.crc32(kind + data))
