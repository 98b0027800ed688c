import sys
from collections.abc import Callable
from pathlib import Path

import pytest


def test_a_missing_package_is_told_in_one_line(
    tmp_path: Path, run_here: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "dda.engines.ray", raising=False)
    with pytest.raises(SystemExit, match=r'dda: engine=ray: ray is not installed; pip install -e "\.\[ray\]"'):
        run_here("run_amplify.py", "engine=ray", f"paths.outputs={tmp_path}", "run_name=run")
    assert not (tmp_path / "amplify" / "run").exists()
