"""The folders of `dda/` are layers: each imports only those below it (CONTRIBUTING.md has the map)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

LAYERS = (
    {"stages", "api"},
    {"cli"},
    {"config"},
    {"engines"},
    {"sweep"},
    {"training"},
    {"tracking"},
    {"report"},
    {"authoring"},
    {"evaluation"},
    {"metrics"},
    {"pairs"},
    {"models"},
    {"faces"},
    {"system"},
)
"""From the top; the modules of `dda/` itself are below all of them, but for its commands and its public names."""

COMMANDS = ("__init__", "merge")
"""Modules of `dda/` itself that may import any folder."""

HYDRA_FOLDERS = {"cli", "config", "sweep", "tracking", "stages"}
"""The only folders that know Hydra and OmegaConf; tracking records how Hydra composed a job."""

MODULES = sorted((ROOT / "dda").rglob("*.py"))
LEVEL = {folder: level for level, folders in enumerate(LAYERS) for folder in folders}


def imports(file: Path) -> Iterator[str]:
    """The modules that a file imports, when it is loaded or later, but for those it needs for its types alone."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    typing_only = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    skipped = {id(child) for node in typing_only for child in ast.walk(node)}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def folder_of(module: str) -> str:
    """The folder of `dda/` that a module lies in; empty for a module of `dda/` itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and (ROOT / "dda" / parts[1]).is_dir() else ""


def test_every_folder_has_a_layer_and_says_what_it_holds() -> None:
    folders = {path.name for path in (ROOT / "dda").iterdir() if (path / "__init__.py").is_file()}
    assert folders == LEVEL.keys()
    for init in (ROOT / "dda").rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))), init


@pytest.mark.parametrize("file", MODULES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_a_module_imports_only_what_lies_below(file: Path) -> None:
    own = folder_of(".".join(file.relative_to(ROOT).with_suffix("").parts))
    if not own and file.stem in COMMANDS:
        return
    for module in imports(file):
        if module.split(".")[0] in ("hydra", "omegaconf"):
            assert own in HYDRA_FOLDERS, f"{module} in {own or 'dda'}"
        if module.startswith("dda.") and (other := folder_of(module)) and other != own:
            assert own, f"a module of dda/ itself imports {module}"
            assert LEVEL[other] > LEVEL[own], f"{own} imports {module}"
