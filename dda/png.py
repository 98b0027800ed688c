"""PNG files, packed several times as fast as Pillow does and no larger."""

import struct

import numpy as np
from isal import isal_zlib

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BIT_DEPTH, _RGB = 8, 2
_AVERAGE = 3


def encode_png(image: np.ndarray) -> bytes:
    """uint8 (H, W, 3) RGB as the bytes of a PNG file (ISO/IEC 15948).

    Every row is filtered alike. Pillow tries all filters on every row, and spends half its time so; on photos it gains
    nothing over the mean of the left and the upper neighbor.
    """
    height, width, _ = image.shape
    header = struct.pack(">2I5B", width, height, _BIT_DEPTH, _RGB, 0, 0, 0)
    data = isal_zlib.compress(_filtered(image), isal_zlib.ISAL_DEFAULT_COMPRESSION)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _filtered(image: np.ndarray) -> np.ndarray:
    """Rows (H, 1 + 3 W): the filter's number, then each value less the mean of those to its left and above it."""
    padded = np.pad(image, ((1, 0), (1, 0), (0, 0)))
    above, left = padded[:-1, 1:], padded[1:, :-1]
    mean = (above & left) + ((above ^ left) >> 1)  # rounded down, without the carry that uint8 has no room for
    rows = (image - mean).reshape(len(image), -1)
    return np.pad(rows, ((0, 0), (1, 0)), constant_values=_AVERAGE)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", isal_zlib.crc32(kind + data))
