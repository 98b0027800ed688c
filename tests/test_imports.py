"""What loads with the project, and what must not."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module", ["dda.amplify", "dda.worker", "dda.evaluate", "dda.training.train", "dda.training.author"]
)
def test_neither_opencv_nor_facer_loads_unless_asked_for(module: str) -> None:
    """OpenCV needs libGL, which a machine without a display may lack; facer imports it."""
    code = f"import sys, {module}; print([name for name in ('cv2', 'facer') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
