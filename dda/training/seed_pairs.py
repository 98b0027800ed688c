"""Seed pairs: the few retouched faces a style is learnt from, as canonical crops in memory."""

import logging
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dda.errors import UserError
from dda.faces.alignment import CANONICAL_POINTS, CROP_SIZE, invert_matrix, warp, warp_supersampled
from dda.faces.dataset import SUFFIXES
from dda.faces.face import Face
from dda.faces.face_mesh import MeshFace
from dda.faces.parsing.parser import FaceParser
from dda.faces.region_masks import RegionMasks
from dda.images import ImageError, hash_image, read_image, to_tensor
from dda.models.compact.pipeline import crop_matrix

_LOG = logging.getLogger(__name__)

OTHER = 30.0
"""Mean change of the skin in gray levels beyond which a target may show somebody else: makeup changes it by ten."""

MARGIN = 32
"""Pixels kept around the canonical crop, so that a shifted or turned crop still holds picture."""

PADDED_SIZE = CROP_SIZE + 2 * MARGIN


@dataclass
class AlignedPair:
    """One pair in the FFHQ crop of its source: ``source`` and ``target`` uint8 (512, 512, 3), the source's regions."""

    source: np.ndarray
    target: np.ndarray
    regions: RegionMasks
    style: int


@dataclass
class SeedPair:
    """One pair in the padded canonical crop (side ``PADDED_SIZE``).

    ``source`` and ``target`` (3, S, S) uint8, ``masks`` (4, S, S) uint8 (255 is 1), ``points`` (468, 2) landmarks
    in the crop's pixels, ``style`` an index.
    """

    source: torch.Tensor
    target: torch.Tensor
    masks: torch.Tensor
    points: np.ndarray
    style: int


def find_styles(root: Path, key: str = "data.root") -> dict[str, Path]:
    """Folders of pairs by style name, sorted: ``root/<style>/{source,target}``, or ``root`` itself as the only style.

    Names are composed (NFC), as stems are. ``key`` is the setting that named the folder.

    Raises:
        UserError: the folder is missing or holds no pairs, or a style has a name that is no UTF-8 or another's too.
    """
    if not root.is_dir():
        raise UserError(f"{key}={root} is not a folder; give the folder that holds your pairs")
    if (root / "source").is_dir() and (root / "target").is_dir():
        return {_style_name(root.resolve()): root}
    styles: dict[str, Path] = {}
    for folder in (child for child in root.iterdir() if (child / "source").is_dir() and (child / "target").is_dir()):
        if styles.setdefault(_style_name(folder), folder) != folder:
            raise UserError(f"{folder}: another style has this name too, in other letters; rename one")
    if not styles:
        raise UserError(
            f"{key}={root} holds no pairs; expected {root}/<style>/source/* and target/* of the same names, or "
            f"{root}/source/* and target/* of one style"
        )
    return dict(sorted(styles.items()))


def _style_name(folder: Path) -> str:
    name = unicodedata.normalize("NFC", folder.name)
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{folder.parent}: the name of {name!a} is no UTF-8; rename the folder") from error
    return name


def pair_files(folder: Path) -> list[tuple[Path, Path]]:
    """Source and target files of one style, matched by stem, in name order.

    Raises:
        UserError: a source has no target or the other way round, two files have one stem, or there are none.
    """
    sources, targets = (pictures_by_stem(folder / side) for side in ("source", "target"))
    if alone := sorted(sources.keys() ^ targets.keys()):
        raise UserError(f"{folder}: {alone[0]!r} is in only one of source/ and target/; every pair needs both")
    if not sources:
        raise UserError(f"{folder}: source/ and target/ hold no pictures ({' '.join(SUFFIXES)})")
    return [(sources[stem], targets[stem]) for stem in sorted(sources)]


def _doubt(pair: AlignedPair) -> str:
    """Why a pair is hardly one of a face and its retouched self; empty where it may be."""
    change = np.abs(pair.target.astype(np.float32) - pair.source).mean(-1)
    if not change.any():
        return "is the same as its source; nothing was retouched"
    skin = pair.regions["skin"]
    level = float((change * skin).sum() / max(float(skin.sum()), 1))
    return (
        f"differs from its source by {level:.0f} gray levels on the skin; is it the same face?" if level > OTHER else ""
    )


def pictures_by_stem(folder: Path) -> dict[str, Path]:
    """The pictures of a folder in name order, by stem; hidden ones are passed over.

    Stems are composed (NFC): a Mac may write é or 민 as several letters that look like one.

    Raises:
        UserError: two of them have one stem.
    """
    files: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.name.lower().endswith(SUFFIXES) and not file.name.startswith("."):
            stem = unicodedata.normalize("NFC", file.stem)
            if other := files.get(stem):
                raise UserError(
                    f"{folder}: {other.name} and {file.name} have one name; give two pictures different names"
                )
            files[stem] = file
    return files


def load_pairs(root: Path, parser: FaceParser, key: str = "data.root") -> tuple[list[str], Iterator[AlignedPair], int]:
    """Style names, their pairs as they are read, aligned by their sources' faces, and how many there are.

    ``key`` is the setting that named the folder.

    Raises:
        UserError: a picture is unreadable or shows no face, or the two of a pair differ in size.
    """
    styles = find_styles(root, key)
    files = [(style, *pair) for style, folder in enumerate(styles.values()) for pair in pair_files(folder)]
    parsed: dict[str, tuple[Face, RegionMasks]] = {}  # a face that wears several styles is parsed once

    def load(style: int, source_file: Path, target_file: Path) -> AlignedPair:
        source, target = _read(source_file), _read(target_file)
        if source.shape != target.shape:
            sizes = [f"{picture.shape[1]}x{picture.shape[0]}" for picture in (target, source)]
            raise UserError(f"{target_file}: is {sizes[0]} pixels, its source {sizes[1]}; they must be equal")
        key = hash_image(source)
        if key not in parsed:
            faces = parser.detect(source)
            if not faces:
                raise UserError(f"{source_file}: no face found; a seed pair needs one visible face")
            parsed[key] = faces[0], parser.regions(faces[0].crop(source), faces[0].to_crop())
        face, regions = parsed[key]
        pair = AlignedPair(face.crop(source), face.crop(target), regions, style)
        if doubt := _doubt(pair):
            _LOG.warning("%s: %s", target_file, doubt)
        return pair

    return list(styles), (load(*entry) for entry in files), len(files)


def cut_pair(pair: AlignedPair) -> SeedPair:
    """The padded canonical crop of an aligned pair, whose face has a mesh."""
    face: MeshFace = pair.regions.face
    matrix = crop_matrix(face, np.array(CANONICAL_POINTS) * CROP_SIZE)
    matrix[:, 2] -= matrix[:, :2].sum(1) * MARGIN
    to_picture = torch.from_numpy(matrix)[None]
    pictures = torch.cat([to_tensor(pair.source), to_tensor(pair.target)])[None]
    masks = torch.from_numpy(pair.regions.masks)[None]  # soft, so they need no filter
    cut = torch.cat([warp_supersampled(pictures, to_picture, PADDED_SIZE), warp(masks, to_picture, PADDED_SIZE)], 1)[0]
    levels = (cut * 255).round().to(torch.uint8)
    to_crop = invert_matrix(matrix)
    points = face.points @ to_crop[:, :2].T + to_crop[:, 2]
    return SeedPair(levels[:3], levels[3:6], levels[6:], points, pair.style)


def _read(file: Path) -> np.ndarray:
    try:
        return read_image(file)
    except ImageError as error:
        raise UserError(f"{file}: {error.reason}") from error
