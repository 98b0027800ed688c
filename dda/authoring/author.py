"""Author seed pairs: ``python -m dda.authoring.author PORTRAITS_DIR OUT_DIR``.

Finds the largest face of every portrait, cuts its FFHQ crop, paints recipes onto it, those of the package or your own,
and writes ``OUT_DIR/<style>/{source,target}/<portrait>.png``, the form that training reads.
"""

import argparse
import hashlib
import unicodedata
from pathlib import Path

import numpy as np
from rich.progress import track

from dda.authoring.artist import paint
from dda.authoring.recipes import Lips, Pigment, Recipe, load_recipe, named_recipes
from dda.console import CONSOLE, exit_on_user_error, print_line
from dda.errors import SourceError, UserError
from dda.faces.dataset import SUFFIXES, FaceDataset
from dda.faces.parsing.mesh import MeshParser
from dda.faces.preparation import PreparedFace, prepare_faces
from dda.files import write_atomically
from dda.png import encode_png
from dda.training.seed_pairs import pictures_by_stem


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


def largest_face(portrait: Path, parser: MeshParser) -> PreparedFace:
    """The largest face of a portrait in its FFHQ crop, as an amplification would take it.

    Raises:
        SourceError: the picture is unreadable, or shows no face that could be made up.
    """
    (face,) = prepare_faces(FaceDataset("folder", portrait.parent, aligned=False), portrait.name, parser, "largest")
    if isinstance(face, SourceError):
        raise face
    return face


def random_lipstick(random: np.random.Generator) -> Recipe:
    """A lipstick from fuchsia to brick, pale to deep, and nothing else."""
    hue, chroma, lightness = random.uniform((-20, 0.08, 0.36), (40, 0.2, 0.66))
    return Recipe(
        "lipstick", lips=Lips(Pigment(hue % 360, chroma, lightness), coverage=0.9, gloss=random.uniform(0, 0.7))
    )


def author(stem: str, face: PreparedFace, looks: list[Recipe], out: Path, lipstick: float) -> None:
    """Write the pairs of the portrait called ``stem``, a file each for the source and the target of every look.

    A share ``lipstick`` of the sources wears one, which the look takes off first: its target is painted on bare lips.
    Which sources do, and the color, follow from the portrait's and the look's names alone.
    """
    image, regions = face.source, face.regions
    for look in looks:
        key = unicodedata.normalize("NFC", f"{stem}:{look.name}").encode("utf-8", "surrogateescape")
        digest = hashlib.sha256(key).digest()
        random = np.random.default_rng(list(digest))
        worn = random.random() < lipstick
        source = encode_png(paint(image, regions, random_lipstick(random))) if worn else face.source_png
        for side, data in (("source", source), ("target", encode_png(paint(image, regions, look)))):
            folder = out / look.name / side
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / f"{stem}.png", data)


def read_looks(files: list[Path]) -> list[Recipe]:
    """The recipes of ``files``; without any, those of the package.

    Raises:
        UserError: a recipe that cannot be read or is none, or two of one name.
    """
    looks: dict[str, Recipe] = {}
    for file in files:
        look = load_recipe(file)
        if look.name in looks:
            raise UserError(f"--recipe {file}: its name, {look.name!r}, is another recipe's too; give it another")
        looks[look.name] = look
    return list((looks or named_recipes()).values())


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; a mistake leaves as one line."""
    parser = argparse.ArgumentParser(prog="python -m dda.authoring.author", description=__doc__)
    parser.add_argument("portraits", type=Path, metavar="PORTRAITS_DIR")
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    parser.add_argument(
        "--recipe", nargs="+", type=Path, default=[], metavar="FILE", help="recipes to paint (default: the package's)"
    )
    parser.add_argument(
        "--lipstick",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="of the sources that wear a lipstick of a random color, for the looks to take off first (default: 0)",
    )
    parser.add_argument("--exclude", nargs="+", default=[], metavar="NAME", help="stems of portraits to leave out")
    options = parser.parse_args(arguments)
    with exit_on_user_error():
        _run(options)


def _run(options: argparse.Namespace) -> None:
    if not 0 <= options.lipstick <= 1:
        raise UserError(f"--lipstick {options.lipstick:g}: expected a share from 0 to 1")
    looks = read_looks(options.recipe)
    portraits = find_portraits(options.portraits, set(options.exclude))
    if options.out.exists() and any(options.out.iterdir()):
        raise UserError(f"{options.out}: holds something already, which a training would read too; give a new folder")
    parser = MeshParser()
    rejected: list[tuple[str, str]] = []
    for portrait in track(portraits, "Painting", console=CONSOLE):
        try:
            author(portrait.stem, largest_face(portrait, parser), looks, options.out, options.lipstick)
        except SourceError as error:
            rejected.append((portrait.name, error.reason))
    for name, why in rejected:
        print_line(f"{name}: {why}")
    if len(rejected) == len(portraits):
        raise UserError(f"{options.portraits}: none of {len(portraits)} portraits could be used")
    made = len(portraits) - len(rejected)
    print_line(f"{made} portraits in {len(looks)} styles: {options.out}")


if __name__ == "__main__":
    main()
