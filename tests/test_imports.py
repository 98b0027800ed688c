"""What loads with the project, and what must not."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT


def test_neither_opencv_nor_facer_loads_unless_asked_for() -> None:
    """OpenCV needs libGL, which a machine without a display may lack; facer imports it."""
    modules = (
        "dda.stages.amplify",
        "dda.engines.worker",
        "dda.stages.evaluate",
        "dda.training.compact.trainer",
        "dda.authoring.__main__",
    )
    code = f"import sys, {', '.join(modules)}; print([name for name in ('cv2', 'facer') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_loads_its_libraries_when_they_are_needed() -> None:
    code = """
import sys, dda
assert {"Amplifier", "PairDataset", "evaluate"} <= set(dir(dda))
heavy = [name for name in ("torch", "hydra", "numpy", "PIL", "wandb") if name in sys.modules]
assert not heavy, heavy
dda.Amplifier, dda.PairDataset
heavy = [name for name in ("hydra", "omegaconf", "wandb", "matplotlib") if name in sys.modules]
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("script", ["run_amplify.py", "run_eval.py", "run_train.py"])
@pytest.mark.parametrize("argument", ["no_such_key=1", "--help"])
def test_neither_help_nor_a_user_error_loads_torch(script: str, argument: str) -> None:
    command = [sys.executable, "-X", "importtime", ROOT / script, argument]
    done = subprocess.run(command, capture_output=True, text=True)
    loaded = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")]
    if argument == "--help":
        assert done.returncode == 0 and "Settings (KEY=VALUE)" in done.stdout
    else:
        assert done.returncode == 1 and "no_such_key: there is no such setting" in done.stderr
    assert "hydra" in loaded and "torch" not in loaded
