"""The README's Python works as typed."""

import re
import subprocess
import sys
from pathlib import Path

from PIL import Image

from tests.conftest import ROOT


def test_the_python_of_the_readme_runs(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(code.split("\n\n")) == 2 and len([line for line in code.splitlines() if line]) == 5
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, check=True)
    assert Image.open(tmp_path / "target.png").size == (512, 512)
