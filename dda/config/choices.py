"""The choices of `conf/`: the options that each `conf/<group>/<choice>.yaml` names, and the keys that they make."""

import importlib
import re
from collections.abc import Iterator
from dataclasses import Field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from dda.config.schema import CONFIGS
from dda.errors import UserError
from dda.options import is_choice, walk_options

CONF = Path(__file__).parents[2] / "conf"

TARGET = "_target_"
"""Key under which a choice names its dataclass."""

TARGET_PACKAGE = "dda."
"""The only package that a target may come from: importing runs code."""

GROUPS = {"train": "trainer"}
"""Group of `conf/` by the key that its choice stands under, where the two differ."""

CHOSEN_BY = {"train": "model"}
"""Group that the user chooses by, where the choice follows from another one."""


def import_target(target: str, kind: type) -> type[Any]:
    """Import the dataclass that a choice names.

    Raises:
        UserError: it is not a dataclass of this package that is derived from ``kind``.
    """
    module, _, name = target.rpartition(".")
    if not target.startswith(TARGET_PACKAGE):
        raise UserError(f"{TARGET}={target}: must be a class of {TARGET_PACKAGE}*, since importing one runs its code")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{TARGET}={target}: there is no such class") from error
    if not (isinstance(found, type) and is_dataclass(found) and issubclass(found, kind)):
        raise UserError(f"{TARGET}={target}: must be a dataclass derived from {kind.__name__}")
    return found


@cache
def choices(key: str, kind: type) -> dict[str, type[Any]]:
    """Return the options of every choice that may stand under a key, by the choice's name."""
    found = {}
    for file in sorted((CONF / GROUPS.get(key, key)).glob("*.yaml")):
        if target := re.search(rf"^\s*{TARGET}: (\S+)", file.read_text(encoding="utf-8"), re.MULTILINE):
            found[file.stem] = import_target(target[1], kind)
    return found


def all_options() -> Iterator[tuple[str, Field[Any]]]:
    """Yield every key of every command with its option, those of all choices included; a key may come several times."""
    for schema in CONFIGS.values():
        kinds = get_type_hints(schema)
        for one in fields(schema):
            if is_choice(kinds[one.name]):
                for choice in choices(one.name, kinds[one.name]).values():
                    yield from walk_options(choice, f"{one.name}.")
            elif is_dataclass(kinds[one.name]):
                yield from walk_options(kinds[one.name], f"{one.name}.")
            else:
                yield one.name, one


@cache
def path_keys() -> frozenset[str]:
    """Return the keys whose values are files or folders."""
    return frozenset(key for key, option in all_options() if option.metadata.get("is_path"))


@cache
def text_keys() -> frozenset[str]:
    """Return the keys whose values are taken as typed: paths, names and prompts."""
    return frozenset(key for key, option in all_options() if option.metadata.get("is_text"))


def owners(key: str) -> list[str]:
    """Return the choices that have a key, as they are chosen: ``model.guidance`` belongs to ``["model=sd15"]``."""
    group, _, name = key.partition(".")
    kinds = {one: kind for schema in CONFIGS.values() for one, kind in get_type_hints(schema).items()}
    if not is_choice(kinds.get(group)):
        return []
    found = choices(group, kinds[group])
    return [
        f"{CHOSEN_BY.get(group, group)}={choice}"
        for choice, options in found.items()
        if name in dict(walk_options(options))
    ]
