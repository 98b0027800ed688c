"""A real amplification, followed by W&B: what its record says, and that no outage disturbs it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir

from dda.config.check import check
from dda.config.schema import CONFIGS
from dda.config.store import register_configs
from dda.errors import UserError
from dda.pairs.manifest import read_rows
from dda.pairs.run_files import MANIFEST
from dda.stages import amplify, evaluate, train
from dda.tracking import wandb_run
from dda.tracking.artifacts import dataset_version
from dda.tracking.wandb_run import recorded_runs
from tests.conftest import ROOT
from tests.tracking.wandb_log import read_summary
from tests.tracking.wandb_server import API_KEY, Hanging, Refusing, serve

CONF = ROOT / "conf"

pytestmark = pytest.mark.usefixtures("no_account")


def run(task: str, *overrides: str) -> None:
    register_configs()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(task, overrides=list(overrides))
    {"amplify": amplify, "eval": evaluate, "train": train}[task].main(check(cfg, CONFIGS[task]))


@pytest.fixture
def amplification(job: list[str], tmp_path: Path) -> Callable[..., Path]:
    """Makes pairs, and returns the folder of the run."""

    def make(*overrides: str) -> Path:
        run("amplify", *job, f"paths.outputs={tmp_path}", "run_name=run", *overrides)
        return tmp_path / "amplify" / "run"

    return make


def read_logs(folder: Path) -> list[dict[str, Any]]:
    """The summaries of the W&B runs of a folder, oldest first, by W&B's own reader."""
    return [read_summary(log) for log in sorted(folder.glob("wandb/offline-run-*/*.wandb"))]


def test_the_record_of_a_run_and_of_its_extension(amplification: Callable[..., Path], tmp_path: Path) -> None:
    folder = amplification("num_pairs=4", "logger.grid_every=1", "tags=[pilot]")
    time.sleep(1)  # W&B's folders are named by the second
    amplification("num_pairs=8")
    first, second = read_logs(folder)

    assert (first["state"], first["name"], first["tags"]) == ("finished", "run", ["pilot"])
    assert len(first["config"]["lineage"]["plan"]) == 64
    summary = first["summary"]
    assert (summary["ok"], summary["failed"], summary["pairs_done"], summary["pairs_made_now"]) == (4, 0, 4, 4)
    assert summary["pairs_per_second"] > 0 and summary["memory/process_peak_gib"] > 0.1
    assert all(summary[f"seconds/{stage}"] > 0 for stage in ("prepare", "model", "write"))
    assert summary["pairs"]["nrows"] == 4 and summary["samples"]["_type"] == "image-file"
    assert summary["newest"]["path"].startswith("media/images/newest_")
    done = [row for row in read_rows(folder) if row.status == "ok"][:4]
    for style, of in {style: [row for row in done if row.style == style] for style in {r.style for r in done}}.items():
        assert summary[f"{style}/pairs"] == len(of)
        mean = sum(row.measures["makeup_change"] for row in of) / len(of)
        assert summary[f"{style}/makeup_change"] == pytest.approx(mean)

    assert second["run_id"] == first["run_id"]
    assert (first["step"], second["step"]) == (4, 8)
    assert (second["summary"]["pairs_done"], second["summary"]["pairs_made_now"]) == (8, 4)
    assert "newest" not in second["summary"]  # fifty batches are not made

    run("eval", "run=latest", f"paths.outputs={tmp_path}", "metrics=[ssim]", "num_samples=2", "device=cpu")
    (measured,) = read_logs(tmp_path / "eval" / "run")
    lineage = measured["config"]["lineage"]
    assert lineage["wandb_runs"] == recorded_runs(folder) == [first["run_id"]]
    assert lineage["datasets"] == [dataset_version("pairs-run", folder / MANIFEST)]


@pytest.mark.parametrize("handler", [Refusing, Hanging])
def test_an_outage_costs_no_pair(
    handler: type[Refusing],
    amplification: Callable[..., Path],
    undisturbed: Path,
    monkeypatch: pytest.MonkeyPatch,
    snapshot: Callable[[Path], dict[str, bytes | None]],
) -> None:
    monkeypatch.setattr(wandb_run, "INIT_TIMEOUT", 1.0)
    monkeypatch.setenv("WANDB_API_KEY", API_KEY)
    with serve(handler) as (address, _):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        folder = amplification("num_pairs=10")
    assert snapshot(folder / "amplified_data") == snapshot(undisturbed / "amplified_data")
    (found,) = read_logs(folder)
    assert (found["state"], found["summary"]["pairs_done"]) == ("finished", 10)


def test_a_run_that_fails_reads_as_failed(amplification: Callable[..., Path], photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no pair was made"):
        amplification(f"dataset.root={photos / 'bad'}")
    (found,) = read_logs(tmp_path / "amplify" / "run")
    assert (found["state"], found["exit_code"]) == ("failed", 1)
    assert (found["summary"]["ok"], found["summary"]["rejected"]) == (0, 3)
