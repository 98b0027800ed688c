"""Errors of Hydra and OmegaConf, each described in one line in the words of the command line."""

import difflib
import re
from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_type_hints

from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException, ValidationError

from dda.config.choices import TARGET, owners
from dda.errors import UserError, describe_error, first_line

KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list[str]: "a list such as [a,b]",
    dict[str, str]: "a mapping such as {NAME: VALUE}",
    type(None): "null",
}


RENAMED = {"train.level": "train.lip_normalization", "train.collage": "train.patch_mix"}
"""Keys that had another name."""


def describe_command_error(error: BaseException) -> str | None:
    """Describe a user's error in one line, those that Hydra and OmegaConf raise included; None for a bug."""
    if line := describe_error(error):
        return line
    if not isinstance(error, HydraException | InterpolationResolutionError):
        return None
    cause = error.__cause__ or error.__context__
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__ or cause.__context__
    return str(cause or _describe_hydra_error(error))


def describe_option_error(error: OmegaConfBaseException) -> str:
    """Describe in one line why OmegaConf refuses a key or a value."""
    parent, key = error.parent_node, str(error.key)
    if isinstance(error, ValidationError) and "is not a subclass of StyleOptions" in str(error):
        return f"style_set.styles.{key}: a style is added by an experiment, as conf/experiment/mix.yaml adds its own"
    if isinstance(error, ValidationError):
        return f"{error.full_key}={error.value}: {_describe_allowed(error.object_type, key) or first_line(error)}"
    if parent is None or not isinstance(error, KeyError | AttributeError):
        return f"{error.full_key}: {first_line(error)}"
    known = [str(name) for name in parent if name not in ("hydra", TARGET)]
    close = difflib.get_close_matches(key, known, n=1)
    full_key = str(error.full_key)
    if full_key in RENAMED:
        return f"{full_key}: is called {RENAMED[full_key]} now"
    if other := owners(full_key):
        return f"{full_key}: belongs to {' and '.join(other)}; what was chosen has no such setting"
    meant = f"did you mean {full_key.removesuffix(key)}{close[0]}? " if close else ""
    if not known:
        return f"{full_key}: there is no such entry yet; add it with a + before the setting's name"
    return f"{full_key}: there is no such setting; {meant}allowed: {', '.join(known)}"


def _describe_hydra_error(error: Exception) -> str:
    if isinstance(error, MissingConfigException) and error.options and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        if name.startswith("submitit_"):
            return f'{group}={name}: its package is not installed; pip install -e ".[slurm]"'
        return f"{group}={name}: there is no such {group}; allowed: {', '.join(error.options)}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not understood; write KEY=VALUE, for example batch_size=16"
    if (found := re.match(r"Could not override '([^']+)'", str(error))) and "default list" in str(error):
        hint = "model=compact or model=sd15 brings it" if found[1] == "trainer" else "--help lists those there are"
        return f"{found[1]}: this command has no such group to choose from; {hint}"
    if str(error).startswith("Ambiguous value for argument"):
        return f"{str(error).split(chr(39))[1]}: several values; add -m to run each in turn"
    refusal = error if isinstance(error, OmegaConfBaseException) else error.__cause__
    if isinstance(refusal, OmegaConfBaseException):
        return describe_option_error(refusal)
    return " ".join(str(error).split())


def _describe_allowed(schema: Any, key: str) -> str | None:
    """Return what the field `key` of a schema may be, in words; None where the schema does not tell."""
    kind = get_type_hints(schema).get(key) if is_dataclass(schema) else None
    if is_dataclass(kind):
        parts = ", ".join(f"{key}.{part.name}" for part in fields(kind))
        return f"must be set part by part: {parts}"
    choices = get_args(kind) if isinstance(kind, UnionType) else [kind]
    words = [KINDS[choice] for choice in choices if choice in KINDS]
    return f"must be {' or '.join(words)}" if words else None
