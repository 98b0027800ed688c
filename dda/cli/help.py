"""`--help`: every setting of a command with its value, and what it means."""

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from dda.config.choices import CONF, GROUPS, TARGET, import_target
from dda.config.schema import CONFIGS
from dda.options import is_choice, walk_options

COMMANDS = {"run_amplify.py": "amplify", "run_eval.py": "eval", "run_train.py": "train"}
"""The configuration of each command."""

MAX_SETTING_WIDTH = 34
"""Columns of the setting; a longer one has its meaning on the next line."""


def print_help(script: str, overrides: Sequence[str]) -> None:
    """Print the examples of a command, then its settings as ``overrides`` leave them, with their meanings."""
    command = COMMANDS[script]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(command, list(overrides), return_hydra_config=True)
    width = min(shutil.get_terminal_size().columns, 120)
    lines = [*str(cfg.hydra.help.header).rstrip().splitlines(), ""]
    for title, settings in _list_sections(command, cfg):
        lines += textwrap.wrap(title, width, subsequent_indent="    ")
        for setting, meaning in settings:
            lines += _layout(setting, meaning, width)
        lines.append("")
    print("\n".join([*lines, str(cfg.hydra.help.footer).strip()]))


def _list_sections(command: str, cfg: DictConfig) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield the title and the settings of the root, then of each group."""
    schema = CONFIGS[command]
    kinds = get_type_hints(schema)
    root = [
        (_format_setting(cfg, one.name), one.metadata["help"])
        for one in fields(schema)
        if not is_dataclass(kinds[one.name])
    ]
    yield "Settings (KEY=VALUE)", root
    if "experiment" in _groups(cfg):
        yield f"experiment=NAME: {', '.join(_options('experiment'))}. A named job: several settings at once.", []
    for one in fields(schema):
        kind = kinds[one.name]
        if not (isinstance(kind, type) and is_dataclass(kind)):
            continue
        options = import_target(cfg[one.name][TARGET], kind) if is_choice(kind) else kind
        settings = [
            (_format_setting(cfg, name), option.metadata["help"])
            for name, option in walk_options(options, f"{one.name}.")
            if name != f"{one.name}.name" and name != "style_set.styles"
        ]
        yield _title(one.name, cfg, options), settings


def _title(key: str, cfg: DictConfig, options: type) -> str:
    about = " ".join(str(options.__doc__).split("\n\n")[0].split())
    group = GROUPS.get(key, key)
    if group not in _groups(cfg) or group == "trainer":
        return about
    return f"{group}={_groups(cfg)[group]} (of {group}: {', '.join(_options(group))}). {about}"


def _groups(cfg: DictConfig) -> dict[str, Any]:
    return {str(group): choice for group, choice in cfg.hydra.runtime.choices.items() if "/" not in str(group)}


def _options(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def _format_setting(cfg: DictConfig, key: str) -> str:
    """Return a setting as it is written on the command line; a value that the start decides is shown as such."""
    node, _, name = key.rpartition(".")
    parent = OmegaConf.select(cfg, node) if node else cfg
    if OmegaConf.is_missing(parent, name):
        return f"{key}=?"
    if OmegaConf.is_interpolation(parent, name):
        return key
    value = parent[name]
    if value is None or isinstance(value, bool):
        return f"{key}={str(value).lower().replace('none', 'null')}"
    return f"{key}={OmegaConf.to_container(value) if OmegaConf.is_config(value) else value}"


def _layout(setting: str, meaning: str, width: int) -> list[str]:
    indent = " " * (MAX_SETTING_WIDTH + 4)
    wrapped = textwrap.wrap(meaning, max(width - len(indent), 30))
    if len(setting) > MAX_SETTING_WIDTH:
        return [f"  {setting}", *(indent + line for line in wrapped)]
    return [f"  {setting:<{MAX_SETTING_WIDTH}}  {wrapped[0]}", *(indent + line for line in wrapped[1:])]
