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
        "dda.authoring.author",
    )
    code = f"import sys, {', '.join(modules)}; print([name for name in ('cv2', 'facer') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("script", ["run_amplify.py", "run_eval.py", "run_train.py"])
def test_a_mistake_is_told_before_torch_loads(script: str) -> None:
    """Torch takes seconds: whoever mistypes, or asks for --help, does not wait for it."""
    command = [sys.executable, "-X", "importtime", ROOT / script, "no_such_key=1"]
    done = subprocess.run(command, capture_output=True, text=True)
    loaded = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert done.returncode == 1 and "no_such_key: there is no such setting" in done.stderr
    assert "hydra" in loaded and "torch" not in loaded
