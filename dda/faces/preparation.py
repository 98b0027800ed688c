"""Preparation: from a picture file to aligned faces with region masks (decode, detect, align, parse)."""

from dataclasses import dataclass

import numpy as np

from dda.errors import SourceError
from dda.faces.alignment import ALIGNED_SIZE, compute_scale
from dda.faces.dataset import PictureSource
from dda.faces.face import Face
from dda.faces.parsing.parser import FaceParser
from dda.faces.region_masks import RegionMasks
from dda.images import ImageError, ImageReadError, hash_image, resize
from dda.png import encode_png

MIN_CROP_SIDE_PX = 128
"""Side of a face's crop in source pixels below which it is too small to be enlarged to 512."""

MAX_YAW_DEG = 50.0
"""Largest yaw of a face; beyond it, a parser guesses where the far side lies."""

RECHECK_YAW_DEG = 40.0
"""Yaw from which the face must also be found in its own crop: the mesh of a profile may be a guess."""

MIN_VISIBLE_SHARE = 0.35
"""Smallest share of the face oval that the masks cover; with less, the face is hidden."""


@dataclass
class PreparedFace:
    """One face, ready for the model.

    Attributes:
        index: place among the picture's faces, 0 for the largest.
        source: uint8 (512, 512, 3) RGB.
        source_png: the source as the bytes of a PNG file.
        content_hash: SHA-256 of the source's pixels.
        regions: its region masks.
    """

    index: int
    source: np.ndarray
    source_png: bytes
    content_hash: str
    regions: RegionMasks


def load_picture(dataset: PictureSource, path: str) -> np.ndarray:
    """Load a picture as uint8 (H, W, 3) RGB.

    Raises:
        SourceError: it cannot be read ("failed": another try may succeed) or used ("rejected").
    """
    try:
        return dataset.load(path)
    except ImageReadError as error:
        raise SourceError("failed", "decode", error.reason) from error
    except ImageError as error:
        raise SourceError("rejected", "decode", error.reason) from error


def prepare_faces(
    dataset: PictureSource, path: str, parser: FaceParser, faces: str
) -> list[PreparedFace | SourceError]:
    """Prepare the faces of one picture; a face that cannot be used is returned as its SourceError.

    Args:
        dataset: where the picture is.
        path: the picture, relative to the dataset's folder.
        parser: finds and parses the faces.
        faces: which of several faces: "largest", "all", or "reject" (the whole picture).

    Raises:
        SourceError: the whole picture cannot be used.
    """
    image = load_picture(dataset, path)
    if dataset.aligned:
        image = _resize_middle_square(image)
    detected = parser.detect(image)
    if not detected:
        raise SourceError("rejected", "detect", "no face found")
    if len(detected) > 1 and faces == "reject":
        raise SourceError("rejected", "detect", f"several faces: {len(detected)} in the picture, only one is allowed")
    selected = detected if faces == "all" else detected[:1]
    return [_prepare_or_reject(image, parser, face, index, dataset.aligned) for index, face in enumerate(selected)]


def _prepare_or_reject(
    image: np.ndarray, parser: FaceParser, face: Face, index: int, aligned: bool
) -> PreparedFace | SourceError:
    try:
        return _prepare_face(image, parser, face, index, aligned)
    except SourceError as error:
        return error


def _prepare_face(image: np.ndarray, parser: FaceParser, face: Face, index: int, aligned: bool) -> PreparedFace:
    _check_pose(face, image)
    if aligned:
        source = image
    else:
        side = round(compute_scale(face.ffhq_matrix) * ALIGNED_SIZE)
        if side < MIN_CROP_SIDE_PX:
            raise SourceError(
                "rejected",
                "align",
                f"too small: the face's crop is {side} pixels a side, at least {MIN_CROP_SIDE_PX} are needed",
            )
        source = face.crop(image)
        if abs(face.yaw) > RECHECK_YAW_DEG and not parser.detect(source):
            raise SourceError(
                "rejected",
                "detect",
                f"face turned away: by {abs(face.yaw):.0f} degrees, and no face is found in its crop",
            )
        face = face.to_crop()
    regions = parser.regions(source, face)
    if regions.visible_share < MIN_VISIBLE_SHARE:
        raise SourceError(
            "rejected",
            "parse",
            f"face hidden: {regions.visible_share:.0%} of it is visible, at least {MIN_VISIBLE_SHARE:.0%} is needed",
        )
    return PreparedFace(index, source, encode_png(source), hash_image(source), regions)


def _check_pose(face: Face, image: np.ndarray) -> None:
    """Reject a face that is turned too far or cut off by the edge of its picture (H, W, 3)."""
    if abs(face.yaw) > MAX_YAW_DEG:
        raise SourceError(
            "rejected",
            "detect",
            f"face turned away: by {abs(face.yaw):.0f} degrees, at most {MAX_YAW_DEG:.0f} are allowed",
        )
    height, width = image.shape[:2]
    if ((face.key_points < 0) | (face.key_points > (width, height))).any():
        raise SourceError(
            "rejected",
            "detect",
            "face cut off: an eye, the nose or a corner of the mouth is outside the picture",
        )


def _resize_middle_square(image: np.ndarray) -> np.ndarray:
    """Cut the middle square out of a picture and resize it to 512x512."""
    height, width = image.shape[:2]
    side = min(height, width)
    if side < MIN_CROP_SIDE_PX:
        raise SourceError(
            "rejected", "align", f"too small: {width}x{height} pixels, at least {MIN_CROP_SIDE_PX} a side are needed"
        )
    top, left = (height - side) // 2, (width - side) // 2
    return resize(image[top : top + side, left : left + side], (ALIGNED_SIZE, ALIGNED_SIZE))
