import subprocess
import sys
from dataclasses import fields

import pytest

from dda.cli.help import COMMANDS
from dda.config.schema import CONFIGS
from tests.conftest import ROOT


def print_help(script: str, *arguments: str, width: int = 200) -> str:
    command = [sys.executable, str(ROOT / script), "--help", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env={"COLUMNS": str(width), "PATH": "/usr/bin"})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", COMMANDS)
def test_help_says_what_every_key_means(script: str) -> None:
    text = " ".join(print_help(script).split())
    options = [option for option in fields(CONFIGS[COMMANDS[script]]) if "help" in option.metadata]
    assert len(options) > 3
    for option in options:
        assert option.name in text and " ".join(option.metadata["help"].split()) in text, option.name


def test_help_shows_the_options_of_the_choice_that_was_made() -> None:
    compact, latent = print_help("run_amplify.py"), print_help("run_amplify.py", "model=sd15", "batch_size=3")
    assert "model.guidance" not in compact and "model.guidance=1.0" in latent and "batch_size=3" in latent


def test_help_names_values_that_must_be_given() -> None:
    assert "data.root=?" in print_help("run_train.py")


def test_help_fits_the_terminal() -> None:
    assert max(map(len, print_help("run_eval.py", width=80).splitlines())) <= 100
