"""Seed pairs: the few (bare, retouched) pairs of faces that a style is learned from."""

import logging
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dda.errors import OptionError, UserError
from dda.faces.dataset import SUFFIXES
from dda.faces.face import Face
from dda.faces.parsing.parser import FaceParser
from dda.faces.region_masks import RegionMasks
from dda.files import files_by_stem
from dda.images import ImageError, hash_image, read_image

MAX_SKIN_CHANGE = 30.0
"""Mean change of the skin in gray levels from which a target may show another person; makeup changes it by ten."""

_LOG = logging.getLogger(__name__)


@dataclass
class SeedPair:
    """One pair in the FFHQ crop of its source.

    Attributes:
        source, target: uint8 (512, 512, 3) RGB.
        regions: region masks of the source.
        style: index of the style.
    """

    source: np.ndarray
    target: np.ndarray
    regions: RegionMasks
    style: int

    @property
    def content_hash(self) -> str:
        """The first 16 hex digits of the SHA-256 of the pixels of source and target."""
        return hash_image(np.stack([self.source, self.target]))[:16]


class SeedPairFolder:
    """The seed pairs of a folder, in all its styles; an iterable with a length that reads a pair when it comes to it.

    ``root/<style>/{source,target}`` holds the pictures of a style, matched by stem; ``root/{source,target}`` is a
    folder of one style, named as the folder.

    Args:
        root: the folder.
        parser: finds the face of each source, and its regions.

    Raises:
        OptionError: the folder is missing or holds no pairs.
        UserError: a picture without its counterpart, two pictures or styles of the same name, or a name that is not
            UTF-8.
    """

    def __init__(self, root: Path, parser: FaceParser) -> None:
        folders = find_styles(root)
        self.styles = list(folders)
        self._parser = parser
        self._files = [(style, *pair) for style, folder in enumerate(folders.values()) for pair in match_files(folder)]

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[SeedPair]:
        """Read the pairs, style by style.

        Raises:
            UserError: a picture cannot be read or shows no face, or source and target differ in size.
        """
        detected: dict[str, tuple[Face, RegionMasks]] = {}  # a source with several styles is parsed once
        for style, source_file, target_file in self._files:
            source, target = _read(source_file), _read(target_file)
            if source.shape != target.shape:
                sizes = [f"{picture.shape[1]}x{picture.shape[0]}" for picture in (target, source)]
                raise UserError(f"{target_file}: is {sizes[0]} pixels, its source {sizes[1]}; they must be equal")
            content_hash = hash_image(source)
            if content_hash not in detected:
                detected[content_hash] = self._detect(source, source_file)
            face, regions = detected[content_hash]
            pair = SeedPair(face.crop(source), face.crop(target), regions, style)
            if doubt := _doubt_pair(pair):
                _LOG.warning("%s: %s", target_file, doubt)
            yield pair

    def _detect(self, source: np.ndarray, file: Path) -> tuple[Face, RegionMasks]:
        faces = self._parser.detect(source)
        if not faces:
            raise UserError(f"{file}: no face found; a seed pair needs one visible face")
        return faces[0], self._parser.regions(faces[0].crop(source), faces[0].to_crop())


def find_styles(root: Path) -> dict[str, Path]:
    """Return the folders of pairs by style name, sorted by name; names are normalized (NFC).

    Raises:
        OptionError: the folder is missing or holds no pairs.
        UserError: a name is not UTF-8, or two styles have the same name.
    """
    if not root.is_dir():
        raise OptionError("root", "is not a folder; give the folder that holds your pairs", root)
    if _has_pairs(root):
        return {_style_name(root.resolve()): root}
    styles: dict[str, Path] = {}
    for folder in filter(_has_pairs, root.iterdir()):
        if styles.setdefault(_style_name(folder), folder) != folder:
            raise UserError(f"{folder}: another style has the same name, in other Unicode characters; rename one")
    if not styles:
        raise OptionError(
            "root",
            f"holds no pairs; expected {root}/<style>/source/* and target/* of the same names, or {root}/source/* and "
            "target/* of one style",
            root,
        )
    return dict(sorted(styles.items()))


def match_files(folder: Path) -> list[tuple[Path, Path]]:
    """Return the source and target files of one style, matched by stem, in name order.

    Raises:
        UserError: a picture has no counterpart, two have the same stem, or the folder is empty.
    """
    sources, targets = (files_by_stem(folder / side, SUFFIXES) for side in ("source", "target"))
    if unmatched := sorted(sources.keys() ^ targets.keys()):
        raise UserError(f"{folder}: {unmatched[0]!r} is in only one of source/ and target/; every pair needs both")
    if not sources:
        raise UserError(f"{folder}: source/ and target/ hold no pictures ({' '.join(SUFFIXES)})")
    return [(sources[stem], targets[stem]) for stem in sorted(sources)]


def _has_pairs(folder: Path) -> bool:
    return (folder / "source").is_dir() and (folder / "target").is_dir()


def _style_name(folder: Path) -> str:
    name = unicodedata.normalize("NFC", folder.name)
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{folder.parent}: the name of {name!a} is not UTF-8; rename the folder") from error
    return name


def _doubt_pair(pair: SeedPair) -> str:
    """Return why a target is hardly a retouched version of its source; empty if it can be."""
    change = np.abs(pair.target.astype(np.float32) - pair.source).mean(-1)
    if not change.any():
        return "is the same as its source; nothing was retouched"
    skin = pair.regions["skin"]
    skin_change = float((change * skin).sum() / max(float(skin.sum()), 1))
    if skin_change > MAX_SKIN_CHANGE:
        return f"differs from its source by {skin_change:.0f} gray levels on the skin; is it the same face?"
    return ""


def _read(file: Path) -> np.ndarray:
    try:
        return read_image(file)
    except ImageError as error:
        raise UserError(f"{file}: {error.reason}") from error
