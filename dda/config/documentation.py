"""docs/configuration.md: the meaning, type, value and limit of every key, made from the schemas and `conf/`.

Run it after a change of a key: `python -m dda.config.documentation`.
"""

from collections.abc import Iterator
from dataclasses import Field, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from dda.config.choices import CHOSEN_BY, CONF, choices
from dda.config.schema import CONFIGS
from dda.config.store import register_configs
from dda.options import is_choice, walk_options

FILE = CONF.parent / "docs" / "configuration.md"

INTRODUCTION = """# Configuration

Every key of the three commands, made from the code by `python -m dda.config.documentation`. Give a key on the command
line as `KEY=VALUE`, or in a file of your own in `conf/experiment/`. "On resume" tells which keys of an existing run
must stay the same; all others may change.
"""

SCRIPTS = {"amplify": "run_amplify.py", "train": "run_train.py", "eval": "run_eval.py"}
RESUMED = ("amplify", "train")


@dataclass(frozen=True)
class Row:
    """One key of a table."""

    key: str
    value: str
    option: Field[Any]
    kind: Any


def configuration_markdown() -> str:
    """Return the whole page."""
    register_configs()
    return "\n".join([INTRODUCTION, *(line for command in CONFIGS for line in _command(command))])


def _command(command: str) -> Iterator[str]:
    schema = CONFIGS[command]
    kinds = get_type_hints(schema)
    yield f"## {SCRIPTS[command]}\n"
    root = _compose(command)
    yield from _table(command, [_row(root, "", one, kinds) for one in fields(schema) if not _is_group(kinds[one.name])])
    for one in fields(schema):
        kind = kinds[one.name]
        if not _is_group(kind):
            continue
        if is_choice(kind):
            for name, options in choices(one.name, kind).items():
                group = CHOSEN_BY.get(one.name, one.name)
                yield f"### `{group}={name}`{'' if group == one.name else f': `{one.name}`'}\n\n{options.__doc__}\n"
                cfg = _compose(command, f"{group}={name}")
                yield from _table(command, list(_rows(cfg, one.name, options)))
        else:
            yield f"### `{one.name}`\n\n{kind.__doc__}\n"
            yield from _table(command, list(_rows(root, one.name, kind)))


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and is_dataclass(kind)


def _compose(command: str, *overrides: str) -> Any:
    needed = ["dataset.root=null"] if "dataset=folder" in overrides else []
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose(command, [*overrides, *needed])


def _rows(cfg: Any, group: str, options: type) -> Iterator[Row]:
    kinds = get_type_hints(options)
    for name, option in walk_options(options):
        if name != "name" and name in kinds:
            yield _row(cfg, f"{group}.", option, kinds)


def _row(cfg: Any, prefix: str, option: Field[Any], kinds: dict[str, Any]) -> Row:
    parent = OmegaConf.select(cfg, prefix.rstrip(".")) if prefix else cfg
    if OmegaConf.is_missing(parent, option.name):
        value = "must be given"
    elif OmegaConf.is_interpolation(parent, option.name):
        value = "by the time, or by what is measured"
    else:
        plain = parent[option.name]
        plain = OmegaConf.to_container(plain) if OmegaConf.is_config(plain) else plain
        value = f"`{'null' if plain is None else str(plain).lower() if isinstance(plain, bool) else plain}`"
    return Row(prefix + option.name, value if len(value) < 60 else "see `conf/`", option, kinds[option.name])


def _table(command: str, rows: list[Row]) -> Iterator[str]:
    if not rows:
        return
    has_resume = command in RESUMED
    yield f"| key | meaning | value | allowed |{' on resume |' if has_resume else ''}"
    yield f"|---|---|---|---|{'---|' if has_resume else ''}"
    for row in rows:
        limit = row.option.metadata.get("limit")
        cells = [
            f"`{row.key}`",
            row.option.metadata["help"],
            row.value,
            limit.allowed if limit else _type_name(row.kind),
        ]
        if has_resume:
            cells.append("the same" if row.option.metadata["changes_output"] else "free")
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _type_name(kind: Any) -> str:
    names = {bool: "true, false", int: "a whole number", float: "a number", str: "text"}
    return names.get(kind, "text, or null" if kind == str | None else "see the meaning")


def main() -> None:
    """Write docs/configuration.md."""
    Path(FILE).write_text(configuration_markdown(), encoding="utf-8")


if __name__ == "__main__":
    main()
