"""From a file to faces ready to paint: decode, find, align, parse."""

from dataclasses import dataclass

import numpy as np

from dda.errors import SourceError
from dda.faces.alignment import ALIGNED_SIZE, scale_of
from dda.faces.dataset import FaceDataset
from dda.faces.face import Face
from dda.faces.parsing.parser import FaceParser
from dda.faces.region_masks import RegionMasks
from dda.images import ImageError, ImageReadError, content_hash, resize
from dda.png import encode_png

MIN_SIDE = 128
"""Side in source pixels below which a face's crop is too small to be worth enlarging to 512."""

MAX_YAW = 50.0
"""Degrees a face may be turned from the camera; beyond, a parser guesses where the far side lies."""

DOUBTFUL_YAW = 40.0
"""Degrees from which a face is looked for again in its own crop: landmarks fitted to a profile may be a guess."""

MIN_VISIBLE = 0.35
"""Share of the face oval that must look like skin, lips or eyes: less is a hidden face."""


@dataclass
class PreparedFace:
    """One face, ready for the model.

    ``index`` among the picture's faces (0: the largest), ``source`` uint8 (512, 512, 3), ``source_png`` the same
    encoded, ``content_hash`` of the source's pixels, ``regions`` its masks.
    """

    index: int
    source: np.ndarray
    source_png: bytes
    content_hash: str
    regions: RegionMasks


def prepare(dataset: FaceDataset, path: str, parser: FaceParser, faces: str) -> list[PreparedFace | SourceError]:
    """The faces of one picture that the policy ``faces`` (largest | all | reject) asks for, prepared or refused each.

    Raises:
        SourceError: the whole picture cannot be used, with the stage and the reason.
    """
    try:
        image = dataset.load(path)
    except ImageReadError as error:
        raise SourceError("failed", "decode", error.reason) from error
    except ImageError as error:
        raise SourceError("rejected", "decode", error.reason) from error
    if dataset.aligned:
        image = _square(image)
    found = parser.detect(image)
    if not found:
        raise SourceError("rejected", "detect", "no face found")
    if len(found) > 1 and faces == "reject":
        raise SourceError("rejected", "detect", f"{len(found)} faces in the picture (faces=reject)")
    chosen = found if faces == "all" else found[:1]
    return [_prepare_or_refuse(image, parser, face, index, dataset.aligned) for index, face in enumerate(chosen)]


def _prepare_or_refuse(
    image: np.ndarray, parser: FaceParser, face: Face, index: int, aligned: bool
) -> PreparedFace | SourceError:
    try:
        return _prepare_face(image, parser, face, index, aligned)
    except SourceError as error:
        return error


def _unfit(face: Face, image: np.ndarray) -> str:
    """Why a face of a picture (H, W, 3) cannot be made up, being turned too far or cut off; empty where it can."""
    if abs(face.yaw) > MAX_YAW:
        return f"face turned away by more than {MAX_YAW:.0f} degrees"
    height, width = image.shape[:2]
    if ((face.key_points < 0) | (face.key_points > (width, height))).any():
        return "face cut off: an eye, the nose or a corner of the mouth lies beyond the picture's edge"
    return ""


def _square(image: np.ndarray) -> np.ndarray:
    """The middle square of a picture, resized to 512 x 512."""
    height, width = image.shape[:2]
    side = min(height, width)
    if side < MIN_SIDE:
        raise SourceError(
            "rejected", "align", f"too small: {width}x{height} pixels, at least {MIN_SIDE} a side are needed"
        )
    top, left = (height - side) // 2, (width - side) // 2
    return resize(image[top : top + side, left : left + side], (ALIGNED_SIZE, ALIGNED_SIZE))


def _prepare_face(image: np.ndarray, parser: FaceParser, face: Face, index: int, aligned: bool) -> PreparedFace:
    if reason := _unfit(face, image):
        raise SourceError("rejected", "detect", reason)
    if aligned:
        source = image
    else:
        side = round(scale_of(face.alignment) * ALIGNED_SIZE)
        if side < MIN_SIDE:
            raise SourceError(
                "rejected",
                "align",
                f"too small: the face's crop is {side} pixels a side, at least {MIN_SIDE} are needed",
            )
        source = face.crop(image)
        if abs(face.yaw) > DOUBTFUL_YAW and not parser.detect(source):
            raise SourceError("rejected", "detect", f"turned by {abs(face.yaw):.0f} degrees and no face in its crop")
        face = face.in_crop
    regions = parser.regions(source, face)
    if regions.visible < MIN_VISIBLE:
        raise SourceError(
            "rejected",
            "parse",
            f"face hidden: {regions.visible:.0%} of it in sight, at least {MIN_VISIBLE:.0%} is needed",
        )
    return PreparedFace(index, source, encode_png(source), content_hash(source), regions)
