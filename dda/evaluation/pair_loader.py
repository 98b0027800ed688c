"""Loading a pair to be measured: its pictures decoded and compared in size, its face parsed from the finished file."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from dda.faces.alignment import ALIGNED_SIZE, invert_matrix
from dda.faces.parsing.parser import FaceParser
from dda.images import ImageError, hash_image, read_image, resize
from dda.pairs.folder import PairFiles
from dda.regions import REGIONS

OVAL_MARGIN_RATIO = 0.1
"""By how much the face oval is grown, in widths of it. Makeup of ours fades out up to 0.09 beyond what a second parse
of the finished picture calls the face (23 portraits), so a smaller oval would call its last feathers background."""

MIN_SIDE_PX = 32
"""Least side in pixels of a picture that the windows of SSIM and the networks of LPIPS can look at."""

MAX_SIDE_PX = 1024
"""Longer side in pixels to which larger pictures are brought before they are measured: a pair as a camera takes it
would want fifteen gigabytes and many minutes."""

THUMBNAIL_SIDE_PX = 256
"""Longer side of a thumbnail."""


class UnusablePair(Exception):
    """A pair that cannot be measured; ``reason`` says why in one short line."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass
class LoadedPair:
    """One pair, decoded and parsed.

    Attributes:
        files: where it came from.
        source, target: uint8 (H, W, 3).
        oracle: the true target, uint8 (H, W, 3), where there is one.
        masks: region masks of the source, uint8 (4, H, W), 255 for 1; 0 where no face was found.
        oval: the grown face oval, bool (H, W).
        has_face: whether a face was found in the source.
        face: content hash of the source.
        thumbnails: JPEG bytes by "source", "target" and "oracle"; empty unless asked for.
    """

    files: PairFiles
    source: np.ndarray
    target: np.ndarray
    oracle: np.ndarray | None
    masks: np.ndarray
    oval: np.ndarray
    has_face: bool
    face: str
    thumbnails: dict[str, bytes]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.source.shape[0], self.source.shape[1]


def load_pair(files: PairFiles, parser: FaceParser, with_thumbnails: bool) -> LoadedPair:
    """Decode and parse one pair, at most `MAX_SIDE_PX` pixels large; an oracle of another resolution is brought to it.

    Raises:
        UnusablePair: a file is missing or unreadable, the sizes differ, or they are too small.
    """
    if files.reason or files.source is None or files.target is None:
        raise UnusablePair(files.reason)
    source, target = _read("source", files.source), _read("target", files.target)
    oracle = None if files.oracle is None else _read("oracle", files.oracle)
    face = hash_image(source)
    if target.shape != source.shape:
        raise UnusablePair(f"sizes differ: source {_size(source)}, target {_size(target)}")
    if oracle is not None and not _has_shape_of(oracle, source):
        raise UnusablePair(f"sizes differ: source {_size(source)}, oracle {_size(oracle)}")
    if min(source.shape[:2]) < MIN_SIDE_PX:
        raise UnusablePair(f"too small: {_size(source)} pixels, at least {MIN_SIDE_PX} a side are needed")
    size = _limit_size(*source.shape[:2])
    source, target = resize(source, size), resize(target, size)
    oracle = None if oracle is None else resize(oracle, size)
    masks, oval = parse_picture(source, parser)
    pictures = {"source": source, "target": target} | ({} if oracle is None else {"oracle": oracle})
    thumbnails = {side: make_thumbnail(picture) for side, picture in pictures.items()} if with_thumbnails else {}
    found = bool(oval.any())
    return LoadedPair(files, source, target, oracle, masks, oval, found, face, thumbnails)


def _has_shape_of(picture: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two pictures have one aspect ratio."""
    return picture.shape[0] * other.shape[1] == picture.shape[1] * other.shape[0]


def _limit_size(height: int, width: int) -> tuple[int, int]:
    """Return the height and width at which a picture is measured.

    They are its own up to `MAX_SIDE_PX`, but a side is never shorter than `MIN_SIDE_PX`.
    """
    scale = min(1.0, max(MAX_SIDE_PX / max(height, width), MIN_SIDE_PX / min(height, width)))
    return round(height * scale), round(width * scale)


def parse_picture(image: np.ndarray, parser: FaceParser) -> tuple[np.ndarray, np.ndarray]:
    """Return region masks (uint8 (4, H, W)) and grown oval (bool (H, W)) of the largest face; 0 where there is none.

    A picture of 512 x 512 is parsed as it is; any other in the aligned crop of its face, whose masks are carried back.
    """
    height, width = image.shape[:2]
    faces = parser.detect(image)
    if not faces:
        return np.zeros((len(REGIONS), height, width), np.uint8), np.zeros((height, width), bool)
    if (height, width) == (ALIGNED_SIZE, ALIGNED_SIZE):
        return _parse_aligned(image, faces[0], parser)
    masks, oval = _parse_aligned(faces[0].crop(image), faces[0].to_crop(), parser)
    to_crop = invert_matrix(faces[0].ffhq_matrix)

    def to_picture(layer: np.ndarray) -> np.ndarray:
        matrix = to_crop.flatten().tolist()
        moved = Image.fromarray(layer).transform(
            (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
        )
        return np.asarray(moved)

    return np.stack([to_picture(mask) for mask in masks]), to_picture(oval.astype(np.uint8) * 255) > 0


def make_thumbnail(picture: np.ndarray) -> bytes:
    """Return a uint8 (H, W, 3) picture as a JPEG whose longer side is at most `THUMBNAIL_SIDE_PX` pixels."""
    small = Image.fromarray(picture)
    small.thumbnail((THUMBNAIL_SIDE_PX, THUMBNAIL_SIDE_PX), Image.Resampling.LANCZOS, reducing_gap=2.0)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def _parse_aligned(image: np.ndarray, face: object, parser: FaceParser) -> tuple[np.ndarray, np.ndarray]:
    regions = parser.regions(image, face)
    inside = (regions.oval > 0.5) | (regions.total_mask > 0)
    width = np.ptp(np.flatnonzero(inside.any(0))) if inside.any() else 0
    oval = ndimage.distance_transform_edt(~inside) <= OVAL_MARGIN_RATIO * width if inside.any() else inside
    return (regions.masks * 255).round().astype(np.uint8), oval


def _read(side: str, file: Path) -> np.ndarray:
    try:
        return read_image(file)
    except ImageError as error:
        raise UnusablePair(f"{side}: {error.reason}") from error


def _size(picture: np.ndarray) -> str:
    return f"{picture.shape[1]}x{picture.shape[0]}"
