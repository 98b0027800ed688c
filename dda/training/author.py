"""Author seed pairs: ``python -m dda.training.author PORTRAITS_DIR OUT_DIR``.

Finds the largest face of every portrait, cuts its FFHQ crop, paints every recipe of the package (and random
looks) and writes ``OUT_DIR/<style>/{source,target}/<portrait>.png``, the form that training reads.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.progress import track

from dda.faces.align import ALIGNED_SIZE, invert, resample
from dda.faces.dataset import SUFFIXES
from dda.faces.mesh import FaceDetector, MeshFace
from dda.faces.regions import mesh_regions
from dda.images import ImageError, read_image
from dda.mistakes import UserError, told_in_one_line
from dda.pairs.writer import write_atomically
from dda.png import encode_png
from dda.terminal import CONSOLE, say
from dda.training.artist import paint
from dda.training.recipes import Recipe, named_recipes, random_recipe
from dda.training.seed_pairs import pictures_by_stem

RANDOM_STYLE = "Random look {:03d}"


MIN_EYE_DISTANCE = 0.3
"""A face whose eyes are closer than this share of its size is seen from the side: too little to paint."""


class Rejected(Exception):
    """A portrait without a face that could be made up; the message says why."""


def find_portraits(folder: Path, exclude: set[str]) -> list[Path]:
    """The pictures of a folder in name order, without those whose stem is in ``exclude``.

    Raises:
        UserError: no folder, nothing in it, two pictures of one stem, or an excluded name that is not there.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder; give the folder that holds the portraits")
    files = pictures_by_stem(folder)
    if unknown := sorted(exclude - files.keys()):
        raise UserError(f"--exclude {unknown[0]}: {folder} holds no picture of that stem")
    kept = [file for stem, file in files.items() if stem not in exclude]
    if not kept:
        raise UserError(f"{folder}: holds no portraits ({' '.join(SUFFIXES)})")
    return kept


def aligned_face(image: np.ndarray, detector: FaceDetector) -> tuple[np.ndarray, MeshFace]:
    """The FFHQ crop (512, 512, 3) of a picture's largest face, and that face in it.

    Raises:
        Rejected: there is no face, or it is seen from the side.
    """
    faces = detector(image)
    if not faces:
        raise Rejected("no face found")
    face = faces[0]
    if float(np.hypot(*(face.eyes[1] - face.eyes[0]))) < MIN_EYE_DISTANCE * face.size:
        raise Rejected("the face is seen from the side")
    matrix = face.alignment
    return resample(image, matrix, ALIGNED_SIZE, reflect=True), face.moved(invert(matrix))


def author(portrait: Path, looks: list[Recipe], out: Path, detector: FaceDetector) -> None:
    """Write one portrait's pairs, a file each for the source and the target of every look.

    Raises:
        Rejected: the picture is unreadable or shows no face; nothing is written.
    """
    try:
        image, face = aligned_face(read_image(portrait), detector)
    except ImageError as error:
        raise Rejected(error.reason) from error
    regions = mesh_regions(image, face)
    source = encode_png(image)
    for look in looks:
        target = encode_png(paint(image, regions, look))
        for side, data in (("source", source), ("target", target)):
            folder = out / look.name / side
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / f"{portrait.stem}.png", data)


def random_looks(count: int, seed: int) -> Iterator[Recipe]:
    """``count`` random recipes; the n-th is the same whatever the count."""
    for index in range(count):
        yield random_recipe(np.random.default_rng([seed, index]), RANDOM_STYLE.format(index))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a mistake leaves as one line."""
    parser = argparse.ArgumentParser(prog="python -m dda.training.author", description=__doc__)
    parser.add_argument("portraits", type=Path, metavar="PORTRAITS_DIR")
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    parser.add_argument("--random-looks", type=int, default=0, metavar="N", help="also paint N random looks")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of the random looks (default: 0)")
    parser.add_argument("--exclude", nargs="+", default=[], metavar="NAME", help="stems of portraits to leave out")
    options = parser.parse_args(arguments)
    with told_in_one_line():
        _run(options)


def _run(options: argparse.Namespace) -> None:
    for name in ("random_looks", "seed"):
        if getattr(options, name) < 0:
            raise UserError(f"--{name.replace('_', '-')} {getattr(options, name)}: give 0 or more")
    looks = [*named_recipes().values(), *random_looks(options.random_looks, options.seed)]
    portraits = find_portraits(options.portraits, set(options.exclude))
    detector = FaceDetector()
    rejected: list[tuple[str, str]] = []
    for portrait in track(portraits, "Painting", console=CONSOLE):
        try:
            author(portrait, looks, options.out, detector)
        except Rejected as reason:
            rejected.append((portrait.name, str(reason)))
    for name, why in rejected:
        say(f"{name}: {why}")
    if len(rejected) == len(portraits):
        raise UserError(f"{options.portraits}: none of {len(portraits)} portraits could be used")
    made = len(portraits) - len(rejected)
    say(f"{made} portraits in {len(looks)} styles: {options.out}")


if __name__ == "__main__":
    main()
