"""Command-line arguments as typed: values are quoted where Hydra's grammar would refuse or misread them."""

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from dda.config.choices import path_keys, text_keys

GROUPS = frozenset(
    ("batch", "model", "trainer", "style_set", "dataset", "parser", "engine", "launch", "logger", "paths", "experiment")
)
"""The groups of `conf/`, whose values are names of files."""

_OVERRIDE = re.compile(r"([+~]{0,2}[A-Za-z_][\w./@:-]*)=(.*)", re.DOTALL)
_SHARD_KEYS = ("launch", "launch.processes", "shard.index", "shard.count", "run_name")
_REFUSED = object()
_FUNCTION = re.compile(r"\w+\(.*\)", re.DOTALL)


def shard_commands(run_name: str, count: int) -> list[list[str]]:
    """Return the command line of each shard of a run: the one of this process but for the keys of the shard."""
    typed = [argument for argument in sys.argv[1:] if argument.partition("=")[0].lstrip("+") not in _SHARD_KEYS]
    run = ["launch=none", f"run_name={quoted(run_name)}", f"shard.count={count}"]
    return [[sys.executable, sys.argv[0], *typed, *run, f"shard.index={index}"] for index in range(count)]


def quote_argv(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with quotes around the values that Hydra's grammar would refuse or read otherwise.

    Paths and names are taken letter by letter (`dataset.root=/home/사진 (1)`, `run_name=007`), but for `~/`,
    the home folder. Values already in quotes, `null`, interpolations, lists and, with `-m`, sweeps (`a,b`,
    `glob(*)`, `range(4)`) keep their meaning; with `-m` a path with a comma is one value where it exists.
    `-m` itself comes first, since Hydra takes no setting on both sides of it.
    """
    flags = [argument for argument in arguments if argument in ("-m", "--multirun")]
    settings = [argument for argument in arguments if argument not in flags]
    return flags + [_quote_argument(argument, bool(flags)) for argument in settings]


def _quote_argument(argument: str, sweeping: bool) -> str:
    override = _OVERRIDE.fullmatch(argument)
    if override is None:
        return argument
    key, value = override.groups()
    name = key.lstrip("+~")
    if sweeping and _FUNCTION.fullmatch(value) and _parses(value):
        return argument
    quote = _quoting(name)
    if sweeping and "," in value and not _is_one_value(name, value):
        return f"{key}={','.join(quote(piece) for piece in value.split(','))}"
    return f"{key}={quote(value)}"


def _quoting(name: str) -> Callable[[str], str]:
    if name in path_keys():
        return _quote_path
    if name in text_keys():
        return _quote_text
    if name == "experiment":
        return _quote_option
    return _quote_choice if name in GROUPS else _quote_refused


def _is_one_value(name: str, value: str) -> bool:
    """Return whether a value with a comma is one value, or one that Hydra splits by itself: not to be split here."""
    if name in text_keys():
        return _is_quoted(value) or (name in path_keys() and os.path.exists(value))
    return value.startswith("[") or (name not in GROUPS and _parses(value))


def _quote_path(value: str) -> str:
    return _quote_text(str(Path(value).expanduser()) if value.startswith("~/") else value)


def _quote_text(value: str) -> str:
    return value if value in ("", "null") or _is_quoted(value) else quoted(value)


def _quote_option(value: str) -> str:
    """Quote a group's option that reads as a number (`batch=16`), over which Hydra stumbles."""
    return quoted(value) if isinstance(_parse(value), bool | int | float) else _quote_refused(value)


def _quote_choice(value: str) -> str:
    """Quote none too (`logger=null`) for a group that, unlike `experiment`, may not be left out."""
    return quoted(value) if _parse(value) is None else _quote_option(value)


def _quote_refused(value: str) -> str:
    if _parses(value):
        return value
    if value.startswith("[") and value.endswith("]"):
        return f"[{','.join(_quote_refused(piece.strip()) for piece in value[1:-1].split(','))}]"
    if value.startswith("{") and value.endswith("}"):
        items = (piece.partition(":") for piece in value[1:-1].split(","))
        return f"{{{','.join(f'{key.strip()}:{_quote_refused(item.strip())}' for key, _, item in items)}}}"
    return quoted(value)


def _is_quoted(value: str) -> bool:
    return len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" and _parses(value)


def quoted(value: str) -> str:
    """Return a value in single quotes; Hydra asks for backslashes to be doubled only before a quote."""
    doubled = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"'{doubled}'"


def _parses(value: str) -> bool:
    return _parse(value) is not _REFUSED


def _parse(value: str) -> Any:
    """Return what Hydra reads, `_REFUSED` where its grammar has no reading."""
    try:
        return OverridesParser.create().parse_override(f"key={value}").value()
    except HydraException:
        return _REFUSED
