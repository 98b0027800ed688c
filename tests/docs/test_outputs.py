"""docs/outputs.md names every file, column and key of real runs."""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dda.metrics.metric import PREFIXES
from dda.pairs.journal import PairRow
from dda.pairs.run_files import DATA_FOLDER, MANIFEST, METADATA
from dda.sweep.jobs import Job
from tests.conftest import ROOT

NAMES = set(re.findall(r"[\w.\-]+", " ".join(re.findall(r"`([^`\n]+)`", (ROOT / "docs" / "outputs.md").read_text()))))
"""Words in backticks on the page."""


@pytest.fixture(scope="module")
def evaluation(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory, run_here: Callable[..., None]) -> Path:
    """The folder of an evaluation of two pairs of the run, with its own targets as the oracle."""
    outputs = tmp_path_factory.mktemp("evaluation")
    run_here(
        "run_eval.py", f"run={undisturbed}", f"oracle={undisturbed / DATA_FOLDER / 'target'}", "num_samples=2",
        f"paths.outputs={outputs}", "run_name=run", "device=cpu",
    )  # fmt: skip
    return outputs / "eval" / "run"


def without_prefix(column: str) -> str:
    prefixes = sorted((prefix for prefix in PREFIXES.values() if prefix), key=len, reverse=True)
    prefix = next((prefix for prefix in prefixes if column.startswith(prefix)), "")
    assert not prefix or f"{prefix}" in NAMES, prefix
    return column.removeprefix(prefix)


def test_columns_of_the_manifest(undisturbed: Path) -> None:
    assert set(pq.read_schema(undisturbed / MANIFEST).names) <= NAMES


def test_columns_of_the_metadata(undisturbed: Path) -> None:
    with (undisturbed / DATA_FOLDER / METADATA).open(encoding="utf-8", newline="") as file:
        assert set(next(csv.reader(file))) <= NAMES


def test_fields_of_the_journal(undisturbed: Path) -> None:
    assert {field.name for field in fields(PairRow)} <= NAMES
    for line in (undisturbed / "journal-0of1.jsonl").read_text(encoding="utf-8").splitlines():
        assert json.loads(line).keys() <= NAMES


def test_files_of_an_amplification(undisturbed: Path) -> None:
    files = [file for file in undisturbed.rglob("*") if file.is_file() and file.parent.name not in ("source", "target")]
    assert len(files) > 5
    assert {file.name for file in files} <= NAMES


def test_columns_of_the_evaluated_pairs(evaluation: Path) -> None:
    columns = pq.read_schema(evaluation / "pairs.parquet").names
    assert {"strength_lips", "baseline_ssim", "oracle_psnr_face", "made_mask_share"} <= set(columns)
    assert {without_prefix(column) for column in columns} <= NAMES


def test_keys_of_the_metrics(evaluation: Path) -> None:
    metrics = json.loads((evaluation / "metrics.json").read_text(encoding="utf-8"))
    assert metrics.keys() <= NAMES
    for part in ("columns", "oracle_columns", "overall", "against_oracle"):
        assert {key for entry in metrics[part].values() for key in entry} <= NAMES
    assert set(metrics["pairs"]) <= NAMES


def test_files_of_an_evaluation(evaluation: Path) -> None:
    names = {file.name for file in evaluation.rglob("*") if file.is_file()}
    assert {"report.html", "metrics.json", "pairs.parquet"} <= names
    assert {name for name in names if not name.startswith("distribution_")} <= NAMES


def test_columns_of_a_sweep(tmp_path: Path) -> None:
    assert set(Job(tmp_path, {}, "", "", [], None).numbers()) | {"job", "problem"} <= NAMES
