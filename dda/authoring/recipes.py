"""Recipes: looks as parameters of a few makeup products, read from YAML.

Colors are in the polar form of OKLab, for a skin of medium lightness; rendering adapts them to the face. Amounts
default to 0, so a recipe without products leaves the face as it is.
"""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dda.errors import UserError
from dda.options import FOLDER_NAME


def _number(default: float, low: float, high: float) -> Any:
    """Declare a field for a number in [``low``, ``high``]."""
    return field(default=default, metadata={"range": (low, high)})


def _amount(high: float = 1.0) -> Any:
    """Declare a field for an amount in [0, ``high``], 0 by default."""
    return _number(0.0, 0.0, high)


@dataclass(frozen=True)
class Pigment:
    """A color in the polar form of OKLab; ``hue`` is in degrees (25 red, 55 brown, 345 plum)."""

    hue: float = _number(40.0, 0.0, 360.0)
    chroma: float = _number(0.1, 0.0, 0.3)
    lightness: float = _number(0.6, 0.1, 0.95)

    @property
    def lab(self) -> np.ndarray:
        """OKLab coordinates (3,) float32."""
        angle = math.radians(self.hue)
        a, b = self.chroma * math.cos(angle), self.chroma * math.sin(angle)
        return np.array([self.lightness, a, b], np.float32)


@dataclass(frozen=True)
class Foundation:
    """Foundation: ``evenness`` removes blotches, not pores; ``dew`` strengthens the highlights of the skin."""

    evenness: float = _amount()
    brighten: float = _amount(0.2)
    dew: float = _amount()


@dataclass(frozen=True)
class Blush:
    """Blush: ``placement`` is 0 along the cheekbone and 1 on the apple of the cheek; ``lift`` moves it up."""

    color: Pigment = field(default_factory=Pigment)
    coverage: float = _amount()
    placement: float = _number(0.5, 0.0, 1.0)
    lift: float = _number(0.0, 0.0, 1.0)
    width: float = _number(1.0, 0.5, 1.6)


@dataclass(frozen=True)
class Sculpt:
    """Contouring: ``contour`` darkens the hollows of cheeks and temples, ``highlight`` brightens the high points."""

    contour: float = _amount()
    highlight: float = _amount()


@dataclass(frozen=True)
class Shadow:
    """Eye shadow.

    ``reach`` is its height, as a share of the way from lash line to brow, ``wing`` its length past the outer corner,
    ``lower`` its share below the eye. ``crease`` darkens the fold of the lid, ``shimmer`` brightens its middle.
    """

    color: Pigment = field(default_factory=Pigment)
    coverage: float = _amount()
    reach: float = _number(0.6, 0.25, 1.0)
    wing: float = _number(0.15, 0.0, 0.4)
    crease: float = _amount()
    lower: float = _amount()
    shimmer: float = _amount()


@dataclass(frozen=True)
class Liner:
    """Eyeliner: ``thickness`` and ``wing`` in eye widths, ``lift`` the wing's slope, ``lower`` the share below."""

    color: Pigment = field(default_factory=lambda: Pigment(50.0, 0.01, 0.2))
    coverage: float = _amount()
    thickness: float = _number(0.04, 0.01, 0.12)
    wing: float = _number(0.0, 0.0, 0.4)
    lift: float = _number(0.5, 0.0, 1.2)
    lower: float = _amount()
    lashes: float = _amount()


@dataclass(frozen=True)
class Brows:
    """Brows: ``fill`` closes the gaps between hairs, ``darken`` darkens the hairs, ``straight`` flattens the arch."""

    fill: float = _amount()
    darken: float = _amount()
    straight: float = _amount()


@dataclass(frozen=True)
class Lips:
    """Lipstick: ``gloss`` strengthens highlights, ``gradient`` fades it outwards, ``softness`` blurs its edge."""

    color: Pigment = field(default_factory=Pigment)
    coverage: float = _amount()
    gloss: float = _amount()
    gradient: float = _amount()
    softness: float = _number(0.3, 0.0, 1.0)


@dataclass(frozen=True)
class Recipe:
    """One look: a name, which becomes the style's, and the products."""

    name: str
    foundation: Foundation = field(default_factory=Foundation)
    blush: Blush = field(default_factory=Blush)
    sculpt: Sculpt = field(default_factory=Sculpt)
    shadow: Shadow = field(default_factory=Shadow)
    liner: Liner = field(default_factory=Liner)
    brows: Brows = field(default_factory=Brows)
    lips: Lips = field(default_factory=Lips)


def load_recipe(path: Path) -> Recipe:
    """Read a recipe from YAML.

    Raises:
        UserError: the file cannot be read, is not YAML, or has an unknown key or a value that is not allowed.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected keys and values such as 'name: My look', found {_describe(content)}")
    name = content.pop("name", None)
    if not isinstance(name, str) or not FOLDER_NAME.holds(name.strip()):
        raise UserError(f"{path}: name: expected {FOLDER_NAME.allowed}, found {_describe(name)}")
    return _parse_group(Recipe, content, str(path), "", name=name)


def load_packaged_recipes() -> dict[str, Recipe]:
    """Load the recipes that come with the package, by name."""
    folder = Path(str(resources.files("dda") / "assets" / "recipes"))
    recipes = [load_recipe(path) for path in sorted(folder.glob("*.yaml"))]
    return {recipe.name: recipe for recipe in recipes}


def _parse_group(kind: type, content: object, file: str, prefix: str, **given: str) -> Any:
    """Make the dataclass ``kind`` from a mapping and check each key; ``given`` are fields that are known already."""
    if not isinstance(content, Mapping):
        raise UserError(f"{file}: {prefix.rstrip('.')}: expected a group of keys, found {_describe(content)}")
    known = {one.name: one for one in fields(kind) if one.name not in given}
    values: dict[str, Any] = dict(given)
    for key, value in content.items():
        where = f"{file}: {prefix}{key}"
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"allowed: {', '.join(known)}"
            raise UserError(f"{where}: no such parameter; {hint}")
        declared = known[key]
        if isinstance(declared.type, type) and is_dataclass(declared.type):
            values[key] = _parse_group(declared.type, value, file, f"{prefix}{key}.")
            continue
        low, high = declared.metadata["range"]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise UserError(f"{where}: expected a number from {low:g} to {high:g}, found {_describe(value)}")
        values[key] = float(value)
    return kind(**values)


def _describe(value: object) -> str:
    return "nothing" if value is None else repr(value)[:60]
