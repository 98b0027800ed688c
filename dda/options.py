"""Options: what a choice (a model, a parser, a dataset, a trainer) can be given, declared in one dataclass beside it.

A field made by `option` says what the option means, which values it takes and whether it decides pixels. The checks of
a configuration, the quoting of paths on the command line, the settings that must match on resume and the documentation
are all made from these fields.
"""

import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from typing import Any, get_type_hints

from dda.errors import OptionError


@dataclass(frozen=True)
class Limit:
    """The allowed values of an option, in words and as a test."""

    allowed: str
    holds: Callable[[Any], bool]


def at_least(least: int) -> Limit:
    """Allow whole numbers from ``least``."""
    return Limit(f"at least {least}", lambda value: value >= least)


def between(low: float, high: float) -> Limit:
    """Allow numbers from ``low`` to ``high``, both included."""
    return Limit(f"between {low:g} and {high:g}", lambda value: low <= value <= high)


def one_of(*choices: str) -> Limit:
    """Allow one of some words."""
    return Limit(f"one of {', '.join(choices)}", lambda value: value in choices)


STRENGTH = Limit("a finite number, 0 or more", lambda value: math.isfinite(value) and value >= 0)
SHARE = Limit("at least 0 and below 1", lambda value: 0 <= value < 1)
PATH = Limit("a path that exists", lambda value: os.path.exists(value))
FILE = Limit("a file that exists", lambda value: os.path.isfile(value))
FOLDER = Limit("a folder that exists", lambda value: os.path.isdir(value))
FOLDER_PATH = Limit("the path of a folder", lambda value: value != "")
FOLDER_NAME = Limit(
    "the name of one folder (no slashes, no dot in front, at most 255 bytes)",
    lambda value: re.fullmatch(r"[^./\\\0][^/\\\0]*", value) is not None and len(value.encode()) <= 255,
)


def option(
    help: str,
    default: Any = MISSING,
    *,
    limit: Limit | None = None,
    is_path: bool = False,
    is_text: bool = False,
    changes_output: bool = True,
    fingerprint: Callable[[Any], Any] | None = None,
) -> Any:
    """Return a dataclass field that declares an option.

    Args:
        help: what the option means, in one sentence, for ``--help`` and the documentation.
        default: its value where none is given; without one it must be given. A list or mapping is copied.
        limit: the allowed values; ``None``, where the type allows it, always passes.
        is_path: its value is a file or folder, taken as typed.
        is_text: its value is free text, taken as typed.
        changes_output: another value makes other pixels (or weights), so a resumed run must have the same.
        fingerprint: turns a value that is not None into what must match on resume, such as a digest of the files.
    """
    metadata = {
        "help": help,
        "limit": limit,
        "is_path": is_path,
        "is_text": is_text or is_path,
        "changes_output": changes_output,
        "fingerprint": fingerprint,
    }
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(metadata=metadata) if default is MISSING else field(default=default, metadata=metadata)


class Choice:
    """Base of dataclasses of options of which `conf/` chooses one: a model, a parser, a dataset, a trainer."""


def is_choice(kind: Any) -> bool:
    """Return whether a type is that of a choice."""
    return isinstance(kind, type) and issubclass(kind, Choice)


def walk_options(schema: Any, prefix: str = "") -> Iterator[tuple[str, Field[Any]]]:
    """Yield every option of a dataclass (or an instance of one) and of those nested in it, by its dotted name.

    Of an instance, a nested dataclass is the one that the instance holds, which may be a subclass of the declared one.
    """
    kinds = get_type_hints(schema if isinstance(schema, type) else type(schema))
    for one in fields(schema):
        nested = kinds[one.name] if isinstance(schema, type) else getattr(schema, one.name)
        if is_dataclass(nested):
            yield from walk_options(nested, f"{prefix}{one.name}.")
        else:
            yield f"{prefix}{one.name}", one


def check_limit(name: str, value: Any, limit: Limit | None) -> None:
    """Check a value against the limit of its option.

    Raises:
        OptionError: the value is outside the limit.
    """
    if limit is not None and value is not None and not limit.holds(value):
        raise OptionError(name, f"must be {limit.allowed}", value)


def fingerprint_options(options: Any) -> dict[str, Any]:
    """Return the options that change the output, each by its value or its ``fingerprint``; None values are left out."""
    found = {}
    for name, one in walk_options(options):
        value = options
        for part in name.split("."):
            value = getattr(value, part)
        if one.metadata.get("changes_output", True) and value is not None:
            fingerprint = one.metadata.get("fingerprint")
            found[name] = fingerprint(value) if fingerprint else value
    return found
