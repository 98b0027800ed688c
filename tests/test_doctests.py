"""Every example in a docstring of the public API and of the metrics does what it says."""

import doctest
import importlib
from pathlib import Path

import pytest

from tests.conftest import ROOT


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


EXAMPLES = [module_name(file) for file in sorted((ROOT / "dda").rglob("*.py")) if ">>> " in file.read_text("utf-8")]
PUBLIC = ("dda", "dda.api.amplifier", "dda.api.dataset", "dda.api.evaluation", "dda.api.pair", "dda.api.transform")


def test_everything_public_has_an_example() -> None:
    assert set(PUBLIC) <= set(EXAMPLES)


@pytest.mark.parametrize("module", EXAMPLES)
def test_the_examples_of_a_module_hold(module: str) -> None:
    results = doctest.testmod(importlib.import_module(module), raise_on_error=False)
    assert results.attempted and not results.failed
