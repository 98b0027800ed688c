"""The notebook runs without an error, and the committed one shows its pictures."""

from pathlib import Path

import pytest

from tests.conftest import ROOT

NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
MAX_BYTES = 2_000_000
MAX_SECONDS = 300
"""For each cell; all of them take a minute on two cores that have nothing else to do."""

nbformat = pytest.importorskip("nbformat", reason='pip install -e ".[dev]"')
nbclient = pytest.importorskip("nbclient", reason='pip install -e ".[dev]"')
pytest.importorskip("ipykernel", reason='pip install -e ".[dev]"')


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")  # this environment's kernel, not one in the user's home
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = nbclient.NotebookClient(notebook, timeout=MAX_SECONDS, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()  # raises where a cell does


def test_the_committed_one_was_executed_in_order() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]
    assert sum("image/jpeg" in output.get("data", {}) for output in outputs) >= 5
    assert NOTEBOOK.stat().st_size < MAX_BYTES


def test_the_committed_one_names_no_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert not [path for path in ("/home/", "/root/", "/tmp/", "/Users/", str(ROOT)) if path in text]
