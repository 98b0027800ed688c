"""Seed pairs: the few retouched faces a style is learnt from, as canonical crops in memory."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dda.mistakes import UserError
from dda.faces.align import ALIGNED_SIZE, CROP_SIZE, ffhq_matrix, invert, resample, warp_down
from dda.faces.mesh import Face, FaceDetector
from dda.faces.regions import mesh_regions
from dda.images import ImageError, read_image, to_tensor
from dda.models.compact import crop_matrix

MARGIN = 32
"""Pixels kept around the canonical crop, so that a shifted or turned crop still holds picture."""

PADDED_SIZE = CROP_SIZE + 2 * MARGIN
PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp"}


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


def find_styles(root: Path) -> dict[str, Path]:
    """Folders of pairs by style name: ``root/<style>/{source,target}``, or ``root`` itself as the only style.

    Raises:
        UserError: the folder is missing or holds no pairs.
    """
    if not root.is_dir():
        raise UserError(f"data.root={root} is not a folder; give the folder that holds your pairs")
    if (root / "source").is_dir() and (root / "target").is_dir():
        return {root.resolve().name: root}
    styles = {
        folder.name: folder
        for folder in sorted(root.iterdir())
        if (folder / "source").is_dir() and (folder / "target").is_dir()
    }
    if not styles:
        raise UserError(f"data.root={root} holds no pairs; expected {root}/<style>/source/* and target/* of the same names")
    return styles


def pair_files(folder: Path) -> list[tuple[Path, Path]]:
    """Source and target files of one style, matched by stem, in name order.

    Raises:
        UserError: a source has no target or the other way round, or there are none.
    """
    sides = []
    for side in ("source", "target"):
        files = (p for p in (folder / side).iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
        sides.append({p.stem: p for p in files})
    sources, targets = sides
    if alone := sorted(sources.keys() ^ targets.keys()):
        raise UserError(f"{folder}: {alone[0]!r} is in only one of source/ and target/; every pair needs both")
    if not sources:
        raise UserError(f"{folder}: source/ and target/ hold no pictures ({', '.join(sorted(PICTURE_SUFFIXES))})")
    return [(sources[stem], targets[stem]) for stem in sorted(sources)]


def load_pair(source_file: Path, target_file: Path, style: int, detector: FaceDetector) -> SeedPair:
    """Read, align by the source's landmarks and cut one pair.

    Raises:
        UserError: unreadable, sizes differ, or no face is found.
    """
    pictures = []
    for file in (source_file, target_file):
        try:
            pictures.append(read_image(file))
        except ImageError as error:
            raise UserError(f"{file}: {error.reason}") from error
    source, target = pictures
    if source.shape != target.shape:
        raise UserError(f"{target_file}: is {target.shape[1]}x{target.shape[0]}, its source is {source.shape[1]}x{source.shape[0]}")
    faces = detector(source)
    if not faces:
        raise UserError(f"{source_file}: no face found; a seed pair needs one visible face")
    matrix = ffhq_matrix(*faces[0].eyes, *faces[0].mouth_corners)
    source, target = (resample(picture, matrix, ALIGNED_SIZE, reflect=True) for picture in (source, target))
    return cut_pair(source, target, faces[0].moved(invert(matrix)), style)


def cut_pair(source: np.ndarray, target: np.ndarray, face: Face, style: int) -> SeedPair:
    """The padded canonical crop of an aligned pair (uint8 (512, 512, 3) each)."""
    masks = torch.from_numpy(mesh_regions(source, face).masks)
    matrix = crop_matrix(face)
    matrix[:, 2] -= matrix[:, :2].sum(1) * MARGIN
    stack = torch.cat([to_tensor(source), to_tensor(target), masks])[None]
    cut = warp_down(stack, torch.from_numpy(matrix)[None], PADDED_SIZE)[0]
    levels = (cut * 255).round().to(torch.uint8)
    to_crop = invert(matrix)
    points = face.points @ to_crop[:, :2].T + to_crop[:, 2]
    return SeedPair(levels[:3], levels[3:6], levels[6:], points, style)


def load_seed_pairs(root: Path) -> tuple[list[str], list[SeedPair]]:
    """Style names and all their pairs."""
    styles = find_styles(root)
    detector = FaceDetector()
    pairs = [
        load_pair(*files, style, detector)
        for style, folder in enumerate(styles.values())
        for files in pair_files(folder)
    ]
    return list(styles), pairs
