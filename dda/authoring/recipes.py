"""Recipes: looks as numbers, from which the makeup artist authors seed pairs.

Colors are given in OKLab's polar form for a skin of medium depth; the artist adapts them to the face.
Every amount is 0 when it is left out, so a recipe that names nothing leaves the face as it is.
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
    """A field for a number within [``low``, ``high``]."""
    return field(default=default, metadata={"range": (low, high)})


def _amount(high: float = 1.0) -> Any:
    """A field for an amount, 0 unless named."""
    return _number(0.0, 0.0, high)


@dataclass(frozen=True)
class Pigment:
    """A color in OKLab: ``hue`` in degrees (25 red, 55 brown, 345 plum), ``chroma``, ``lightness``."""

    hue: float = _number(40.0, 0.0, 360.0)
    chroma: float = _number(0.1, 0.0, 0.3)
    lightness: float = _number(0.6, 0.1, 0.95)

    @property
    def lab(self) -> np.ndarray:
        """The color as OKLab (3,)."""
        angle = math.radians(self.hue)
        a, b = self.chroma * math.cos(angle), self.chroma * math.sin(angle)
        return np.array([self.lightness, a, b], np.float32)


@dataclass(frozen=True)
class Foundation:
    """``evenness`` takes out blotches, not pores; ``brighten`` lifts the skin; ``dew`` adds to its glow."""

    evenness: float = _amount()
    brighten: float = _amount(0.2)
    dew: float = _amount()


@dataclass(frozen=True)
class Blush:
    """Cheek color: ``placement`` is 0 along the cheekbone and 1 on the apples; ``lift`` moves it up."""

    color: Pigment = field(default_factory=Pigment)
    coverage: float = _amount()
    placement: float = _number(0.5, 0.0, 1.0)
    lift: float = _number(0.0, 0.0, 1.0)
    width: float = _number(1.0, 0.5, 1.6)


@dataclass(frozen=True)
class Sculpt:
    """``contour`` deepens the hollows of the cheeks and the temples, ``highlight`` lifts the high points."""

    contour: float = _amount()
    highlight: float = _amount()


@dataclass(frozen=True)
class Shadow:
    """Eye shadow: ``reach`` is its height from lash line to brow, ``wing`` its length past the outer corner.

    ``crease`` deepens the fold and the outer corner, ``lower`` is its share under the eye, ``shimmer`` lights
    the middle of the lid.
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
    """Liner: ``thickness`` and ``wing`` in eye widths, ``lift`` its slope, ``lower`` the share below."""

    color: Pigment = field(default_factory=lambda: Pigment(50.0, 0.01, 0.2))
    coverage: float = _amount()
    thickness: float = _number(0.04, 0.01, 0.12)
    wing: float = _number(0.0, 0.0, 0.4)
    lift: float = _number(0.5, 0.0, 1.2)
    lower: float = _amount()
    lashes: float = _amount()


@dataclass(frozen=True)
class Brows:
    """``fill`` closes gaps between hairs, ``darken`` deepens them, ``straight`` flattens the arch."""

    fill: float = _amount()
    darken: float = _amount()
    straight: float = _amount()


@dataclass(frozen=True)
class Lips:
    """Lipstick: ``gloss`` strengthens shine, ``gradient`` fades it outwards, ``softness`` blurs its edge."""

    color: Pigment = field(default_factory=Pigment)
    coverage: float = _amount()
    gloss: float = _amount()
    gradient: float = _amount()
    softness: float = _number(0.3, 0.0, 1.0)


@dataclass(frozen=True)
class Recipe:
    """One look."""

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
        UserError: unreadable, no YAML, or a key or value that no recipe has; names the file and the key.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected keys and values such as 'name: My look', found {_brief(content)}")
    name = content.pop("name", None)
    if not isinstance(name, str) or not FOLDER_NAME.holds(name.strip()):
        raise UserError(f"{path}: name: expected {FOLDER_NAME.allowed}, found {_brief(name)}")
    return _build(Recipe, content, str(path), "", name=name)


def named_recipes() -> dict[str, Recipe]:
    """The recipes that come with the package, by style name."""
    folder = Path(str(resources.files("dda") / "assets" / "recipes"))
    recipes = [load_recipe(path) for path in sorted(folder.glob("*.yaml"))]
    return {recipe.name: recipe for recipe in recipes}


def _build(kind: type, content: object, file: str, prefix: str, **given: str) -> Any:
    """The dataclass ``kind`` from a mapping, each key checked."""
    if not isinstance(content, Mapping):
        raise UserError(f"{file}: {prefix.rstrip('.')}: expected a group of keys, found {_brief(content)}")
    known = {item.name: item for item in fields(kind) if item.name not in given}
    values: dict[str, Any] = dict(given)
    for key, value in content.items():
        where = f"{file}: {prefix}{key}"
        if key not in known:
            near = difflib.get_close_matches(str(key), known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
            raise UserError(f"{where}: no such parameter; {hint}")
        item = known[key]
        if isinstance(item.type, type) and is_dataclass(item.type):
            values[key] = _build(item.type, value, file, f"{prefix}{key}.")
            continue
        low, high = item.metadata["range"]
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise UserError(f"{where}: expected a number from {low:g} to {high:g}, found {_brief(value)}")
        values[key] = float(value)
    return kind(**values)


def _brief(value: object) -> str:
    return "nothing" if value is None else repr(value)[:60]
