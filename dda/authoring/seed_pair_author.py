"""Authoring of seed pairs: recipes painted onto portraits, in the folders that training reads."""

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from dda.authoring.recipes import Lips, Pigment, Recipe, load_packaged_recipes, load_recipe
from dda.authoring.renderer import render_recipe
from dda.errors import OptionError, SourceError, UserError
from dda.faces.dataset import SUFFIXES, FaceDataset
from dda.faces.parsing.mesh import MeshParser
from dda.faces.preparation import PreparedFace, prepare_faces
from dda.files import files_by_stem, write_atomically
from dda.png import encode_png

LIPSTICK_HUE_RANGE_DEG = (-20, 40)
"""Hues of the random lipsticks on sources, from fuchsia to brick."""

LIPSTICK_CHROMA_RANGE, LIPSTICK_LIGHTNESS_RANGE = (0.08, 0.2), (0.36, 0.66)
"""Their OKLab chromas and lightnesses, from pale to deep."""

LIPSTICK_COVERAGE, MAX_LIPSTICK_GLOSS = 0.9, 0.7
"""Their coverage, and the largest gloss."""


class SeedPairAuthor:
    """Paints recipes onto portraits.

    Writes ``out/<recipe>/{source,target}/<portrait>.png``, FFHQ crops of 512x512 pixels.

    A share of the sources wears a random lipstick, though their targets are painted on bare lips: so a style learns to
    remove what is there. Whether a source wears one, and its color, depend on the names of the portrait and of the
    recipe alone.

    Args:
        recipes: looks to paint.
        out: a new or empty folder.
        lipstick: share of the sources that wear a random lipstick, in [0, 1].

    Raises:
        OptionError: ``lipstick`` is not a share.
        UserError: ``out`` is not empty.
    """

    def __init__(self, recipes: Sequence[Recipe], out: Path, lipstick: float = 0.0) -> None:
        if not 0 <= lipstick <= 1:
            raise OptionError("lipstick", "must be a share from 0 to 1", f"{lipstick:g}")
        if out.exists() and any(out.iterdir()):
            raise UserError(f"{out}: is not empty, and training would read what is in it; give a new folder")
        self._recipes, self._out, self._lipstick = recipes, out, lipstick
        self._parser = MeshParser()

    def author(self, portrait: Path) -> None:
        """Write the pair of each recipe for the largest face of a portrait.

        Raises:
            SourceError: the picture cannot be read, or shows no face that can be made up.
        """
        face = self._prepare_largest_face(portrait)
        for recipe in self._recipes:
            target = render_recipe(face.source, face.regions, recipe)
            for side, data in (("source", self._render_source(portrait, face, recipe)), ("target", encode_png(target))):
                folder = self._out / recipe.name / side
                folder.mkdir(parents=True, exist_ok=True)
                write_atomically(folder / f"{portrait.stem}.png", data)

    def _prepare_largest_face(self, portrait: Path) -> PreparedFace:
        dataset = FaceDataset("folder", portrait.parent, aligned=False)
        (face,) = prepare_faces(dataset, portrait.name, self._parser, "largest")
        if isinstance(face, SourceError):
            raise face
        return face

    def _render_source(self, portrait: Path, face: PreparedFace, recipe: Recipe) -> bytes:
        """Return the source of a pair as PNG, bare or with a random lipstick."""
        key = unicodedata.normalize("NFC", f"{portrait.stem}:{recipe.name}").encode("utf-8", "surrogateescape")
        rng = np.random.default_rng(list(hashlib.sha256(key).digest()))
        if rng.random() >= self._lipstick:
            return face.source_png
        return encode_png(render_recipe(face.source, face.regions, random_lipstick(rng)))


def find_portraits(folder: Path, exclude: set[str]) -> list[Path]:
    """List the pictures of a folder in name order, without those whose stem is in ``exclude``.

    Raises:
        UserError: there is no such folder, no picture in it, or two pictures have the same stem.
        OptionError: a stem to exclude is not there.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: is not a folder; give the folder that holds the portraits")
    files = files_by_stem(folder, SUFFIXES)
    if unknown := sorted(exclude - files.keys()):
        raise OptionError("exclude", f"{folder} holds no picture of that stem", unknown[0])
    kept = [file for stem, file in files.items() if stem not in exclude]
    if not kept:
        raise UserError(f"{folder}: holds no portraits ({' '.join(SUFFIXES)})")
    return kept


def load_recipes(files: Iterable[Path]) -> list[Recipe]:
    """Load recipes from files; without files, those of the package.

    Raises:
        UserError: a file is not a recipe.
        OptionError: two recipes have the same name.
    """
    recipes: dict[str, Recipe] = {}
    for file in files:
        recipe = load_recipe(file)
        if recipe.name in recipes:
            raise OptionError("recipe", f"its name, {recipe.name!r}, is also another recipe's; give it another", file)
        recipes[recipe.name] = recipe
    return list((recipes or load_packaged_recipes()).values())


def random_lipstick(rng: np.random.Generator) -> Recipe:
    """Draw a recipe of lipstick alone."""
    ranges = np.transpose([LIPSTICK_HUE_RANGE_DEG, LIPSTICK_CHROMA_RANGE, LIPSTICK_LIGHTNESS_RANGE])
    hue, chroma, lightness = rng.uniform(*ranges)
    pigment = Pigment(hue % 360, chroma, lightness)
    gloss = rng.uniform(0, MAX_LIPSTICK_GLOSS)
    return Recipe("lipstick", lips=Lips(pigment, coverage=LIPSTICK_COVERAGE, gloss=gloss))
