import hashlib
import io
import json
import logging
import os
import re
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from PIL import Image

from dda.tracking import wandb_run
from dda.tracking.artifacts import dataset_name, dataset_version
from dda.tracking.tracker import Tracker, open_tracker
from dda.tracking.wandb_run import recorded_runs
from tests.conftest import ROOT
from tests.tracking.wandb_log import dry_sync, find_log, inspect, read_records, read_steps, read_summary, wait_until
from tests.tracking.wandb_server import API_KEY, Answering, serve

pytestmark = pytest.mark.usefixtures("no_account")


@dataclass
class Logger:
    name: str = "wandb"
    project: str = "dda"
    entity: str | None = None
    mode: str = "auto"


@dataclass
class Shard:
    index: int
    count: int


@dataclass
class Config:
    logger: Logger
    seed: int = 7
    tags: list[str] = field(default_factory=lambda: ["first"])


@dataclass
class ShardConfig(Config):
    shard: Shard = field(default_factory=lambda: Shard(0, 1))


def make_config(**logger: Any) -> Config:
    return Config(Logger(**logger))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "my run"
    folder.mkdir()
    return folder


def read_messages(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name.startswith("dda.tracking.") and r.levelno >= level]


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return read_messages(caplog, logging.WARNING)


def test_a_run_without_an_account_is_recorded_offline(
    run_dir: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)
    with (
        caplog.at_level(logging.INFO, "dda"),
        open_tracker(make_config(), run_dir, "amplify", "group") as tracker,
    ):
        tracker.log({"pairs_per_second": 6.5}, step=8)
        tracker.log({"pairs_per_second": 7.5}, step=16)
        tracker.log_image("samples", picture, caption="Two faces")
        tracker.summary({"pairs": {"ok": 16, "rejected": 1}})

    log = find_log(run_dir)
    found = read_summary(log)
    assert (found["state"], found["exit_code"]) == ("finished", 0)
    assert (found["name"], found["project"], found["tags"]) == ("my run", "dda", ["first"])
    assert found["summary"]["pairs_per_second"] == 7.5
    assert found["summary"]["pairs_done"] == 16
    assert found["summary"]["pairs"] == {"ok": 16, "rejected": 1}
    logged = found["summary"]["samples"]
    assert logged["caption"] == "Two faces"
    assert np.array_equal(np.array(Image.open(log.parent / "files" / logged["path"])), picture)
    (message,) = read_messages(caplog, logging.INFO)
    assert f"wandb sync '{log.parent}'" in message
    assert capfd.readouterr() == ("", "")


def test_a_table_keeps_its_first_rows_and_its_pictures(run_dir: Path) -> None:
    picture = np.full((6, 8, 3), (200, 120, 90), np.uint8)
    with open_tracker(make_config(), run_dir, "eval", "group", lineage={"run": "amplified"}) as tracker:
        tracker.log({"rejected": 0}, step=300)
        tracker.log_table("pairs", ["name", "source", "ssim"], [[str(row), picture, row / 2] for row in range(300)])

    log = find_log(run_dir)
    found = read_summary(log)
    assert found["summary"]["pairs_measured"] == 300
    assert "amplified" in json.dumps(found["config"])
    table = json.loads((log.parent / "files" / found["summary"]["pairs"]["path"]).read_text())
    assert table["columns"] == ["name", "source", "ssim"] and len(table["data"]) == 256
    assert table["data"][3] == ["3", "Image", 1.5]
    staged = [file.read_bytes() for file in (run_dir / "wandb" / "data").rglob("*") if file.is_file()]
    pictures = [np.array(Image.open(io.BytesIO(data))) for data in staged if data.startswith(b"\xff\xd8")]
    assert pictures and all(np.abs(shown.astype(int) - picture).mean() < 8 for shown in pictures)


def test_the_runs_of_a_folder_are_known_by_their_ids(tmp_path: Path) -> None:
    assert recorded_runs(tmp_path) == []
    resumed = ("offline-run-20261122_130000-first", "offline-run-20261122_130000-first-1")
    for name in ("run-20261122_120000-second", "offline-run-20261122_110000-first", *resumed, "latest-run", "data"):
        (tmp_path / "wandb" / name).mkdir(parents=True)
    assert recorded_runs(tmp_path) == ["first", "second"]


def test_the_log_syncs(run_dir: Path) -> None:
    with open_tracker(make_config(), run_dir, "amplify", "group") as tracker:
        tracker.log({"pairs_per_second": 6.5}, step=8)
    assert "Would sync 1 run(s)" in dry_sync(str(find_log(run_dir).parent))


@pytest.mark.parametrize(
    ("job_type", "step_metric"), [("amplify", "pairs_done"), ("train", "updates_done"), ("eval", "pairs_measured")]
)
def test_group_job_type_and_step_metric(run_dir: Path, job_type: str, step_metric: str) -> None:
    with open_tracker(make_config(), run_dir, job_type, "the group") as tracker:
        tracker.log({"loss": 0.5}, step=3)
    records = inspect(find_log(run_dir))
    assert '"the group"' in records
    assert f'"{job_type}"' in records
    assert f'"{step_metric}"' in records
    assert "glob_name" in records or "globName" in records


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit("dda: no")])
def test_an_exception_marks_the_run_as_failed(run_dir: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), open_tracker(make_config(), run_dir, "amplify", "group"):
        raise error
    found = read_summary(find_log(run_dir))
    assert (found["state"], found["exit_code"]) == ("failed", 1)


def test_jobs_of_one_process_have_their_own_runs(tmp_path: Path) -> None:
    for job in ("0_natural", "1_red_lip"):
        (tmp_path / job).mkdir()
        with open_tracker(make_config(), tmp_path / job, "amplify", "sweep") as tracker:
            tracker.log({"pairs_per_second": 1.0}, step=len(job))
    first, second = (read_summary(find_log(tmp_path / job)) for job in ("0_natural", "1_red_lip"))
    assert first["run_id"] != second["run_id"]
    assert (first["name"], second["name"]) == ("0_natural", "1_red_lip")
    assert (first["summary"]["pairs_done"], second["summary"]["pairs_done"]) == (9, 9)
    assert wandb.run is None


def test_a_job_that_goes_on_continues_its_run(run_dir: Path) -> None:
    for steps in ((8, 16), (24, 32)):
        with open_tracker(make_config(), run_dir, "train", "group") as tracker:
            for step in steps:
                tracker.log({"loss": 1 / step}, step=step)
    logs = [log for folder in sorted(run_dir.glob("wandb/offline-run-*")) for log in folder.glob("*.wandb")]
    found = [read_summary(log) for log in logs]
    assert len(found) == 2 and found[0]["run_id"] == found[1]["run_id"]
    assert recorded_runs(run_dir) == [found[0]["run_id"]]
    assert [run["step"] for run in found] == [16, 32]
    assert [read_steps(log) for log in logs] == [[8, 16], [24, 32]]
    assert "Would sync 2 run(s)" in dry_sync(*(str(log.parent) for log in logs))


def test_an_evaluation_made_anew_is_another_run(run_dir: Path) -> None:
    for _ in range(2):
        with open_tracker(make_config(), run_dir, "eval", "group"):
            pass
    assert len(recorded_runs(run_dir)) == 2


def test_shards_of_one_folder_have_their_own_runs(run_dir: Path) -> None:
    for index in (0, 1, 0):
        config = ShardConfig(Logger(), shard=Shard(index, 2))
        with open_tracker(config, run_dir, "amplify", "group"):
            pass
    found = [read_summary(log) for log in run_dir.glob("wandb/offline-run-*/*.wandb")]
    assert sorted(run["name"] for run in found) == ["my run-0of2", "my run-0of2", "my run-1of2"]
    assert len({run["run_id"] for run in found}) == 2


@pytest.mark.parametrize(("one", "other"), [("사진", "얼굴"), ("a" * 150, "a" * 151), ("my run", "my-run")])
def test_runs_of_other_names_have_other_artifacts(one: str, other: str) -> None:
    names = [dataset_name(name, Path("outputs/amplify") / name) for name in (one, other)]
    assert names[0] != names[1] and all(re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", name) for name in names)


def test_a_dataset_is_recorded_by_reference(run_dir: Path) -> None:
    pictures = run_dir / "amplified_data"
    for side in ("source", "target"):
        (pictures / side).mkdir(parents=True)
        (pictures / side / "image_0000.png").write_bytes(b"no picture")
    manifest = run_dir / "manifest.parquet"
    manifest.write_bytes(b"one pair")
    name = dataset_name("my run", run_dir)
    with open_tracker(make_config(), run_dir, "amplify", "group") as tracker:
        tracker.log_dataset(name, manifest, pictures, {"pairs": 1})
        tracker.use_dataset(dataset_version(name, manifest))  # offline, nothing comes of it
    digest = hashlib.sha256(b"one pair").hexdigest()
    (artifact,) = read_records(find_log(run_dir), "artifact")
    assert (artifact["name"], artifact["type"]) == (name, "dataset")
    assert sorted(artifact["aliases"]) == sorted(["latest", digest[:12]])
    assert dataset_version(name, manifest) == f"{name}:{digest[:12]}"
    metadata = json.loads(artifact["metadata"])
    assert metadata == {"pairs": 1, "fingerprint": digest, "folder": str(pictures)}
    entries = {entry["path"]: entry for entry in artifact["manifest"]["contents"]}
    names = [f"amplified_data/{side}/image_0000.png" for side in ("source", "target")]
    assert sorted(entries) == [*names, "manifest.parquet"]
    assert all(entries[file]["ref"] == (run_dir / file).as_uri() for file in names)
    assert Path(entries["manifest.parquet"]["local_path"]).read_bytes() == b"one pair"


def test_the_commit_of_the_checkout_is_recorded(run_dir: Path) -> None:
    root = ROOT
    with open_tracker(make_config(), run_dir, "amplify", "group"):
        pass
    recorded = read_summary(find_log(run_dir))["config"].get("git")
    if not (root / ".git").exists():
        assert recorded is None
        return
    head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    assert recorded["commit"] == head


def test_hydra_overrides_and_choices_are_recorded(tmp_path: Path, run_dir: Path) -> None:
    (tmp_path / "conf" / "style_set").mkdir(parents=True)
    (tmp_path / "conf" / "style_set" / "natural.yaml").write_text("name: natural\n")
    (tmp_path / "conf" / "amplify.yaml").write_text("defaults: [style_set: natural, _self_]\nseed: 0\ntags: []\n")
    with initialize_config_dir(str(tmp_path / "conf"), version_base="1.3"):
        composed = compose("amplify", overrides=["seed=3"], return_hydra_config=True)
    HydraConfig.instance().set_config(composed)
    try:
        with open_tracker(make_config(), run_dir, "amplify", "group"):
            pass
    finally:
        HydraConfig.instance().cfg = None
    found = read_summary(find_log(run_dir))
    assert found["config"]["hydra"] == {"overrides": ["seed=3"], "choices": {"style_set": "natural"}}


@pytest.mark.parametrize("logger", [{"name": "none"}, {"mode": "disabled"}])
def test_tracking_can_be_switched_off(run_dir: Path, logger: dict[str, str]) -> None:
    with open_tracker(make_config(**logger), run_dir, "amplify", "group") as tracker:
        use_everything(tracker)
    assert not list(run_dir.iterdir())


def test_auto_obeys_wandb_mode(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    with open_tracker(make_config(), run_dir, "amplify", "group") as tracker:
        use_everything(tracker)
    assert not list(run_dir.iterdir())


def test_a_setting_that_wandb_refuses_is_named_with_what_it_may_be(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_MODE", "bogus")
    with open_tracker(make_config(), run_dir, "amplify", "group") as tracker:
        use_everything(tracker)
    (warning,) = warnings_in(caplog)
    assert "mode: Input should be 'online', 'offline'" in warning and warning.endswith("goes on without it.")


def test_online_without_an_account_is_recorded_offline_with_a_warning(
    run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with open_tracker(make_config(mode="online"), run_dir, "amplify", "group") as tracker:
        use_everything(tracker)
    assert read_summary(find_log(run_dir))["summary"]["pairs_done"] == 4
    (warning,) = warnings_in(caplog)
    assert "wandb login" in warning


@pytest.mark.parametrize("mode", ["auto", "online"])
def test_an_outage_at_the_start_is_recorded_offline(
    run_dir: Path, mode: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(wandb_run, "INIT_TIMEOUT", 1.0)
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{find_dead_port()}")
    monkeypatch.setenv("WANDB_API_KEY", API_KEY)
    with open_tracker(make_config(mode=mode), run_dir, "amplify", "group") as tracker:
        use_everything(tracker)
    found = read_summary(find_log(run_dir))
    assert (found["state"], found["summary"]["pairs_done"]) == ("finished", 4)
    (warning,) = warnings_in(caplog)
    assert "cannot be used online" in warning and "\n" not in warning
    assert not [path for path in run_dir.rglob("*") if path.is_file() and API_KEY.encode() in path.read_bytes()]


def test_a_malformed_key_does_not_stop_the_run(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "short")
    with open_tracker(make_config(), run_dir, "amplify", "group") as tracker:
        use_everything(tracker)
    (warning,) = warnings_in(caplog)
    assert "recorded offline" in warning and "\n" not in warning and "short" not in warning.split()
    assert read_summary(find_log(run_dir))["summary"]["pairs_done"] == 4


def test_what_is_logged_behind_the_last_step_is_not_lost(run_dir: Path) -> None:
    """As where a job goes on that had come further than its journal knows."""
    with open_tracker(make_config(), run_dir, "amplify", "group") as tracker:
        tracker.log({"speed": 2.0}, step=8)
        tracker.log({"ok": 7.0}, step=7)
        tracker.log_image("samples", np.zeros((8, 8, 3), np.uint8))
    summary = read_summary(find_log(run_dir))["summary"]
    assert (summary["ok"], summary["pairs_done"], summary["samples"]["_type"]) == (7, 7, "image-file")


def test_an_outage_in_the_middle_keeps_the_record(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(wandb_run, "FINISH_TIMEOUT", 1.0)
    monkeypatch.setenv("WANDB_API_KEY", API_KEY)
    with serve(Answering) as (address, stop):
        monkeypatch.setenv("WANDB_BASE_URL", address)
        with (
            caplog.at_level(logging.INFO, "dda"),
            open_tracker(make_config(), run_dir, "amplify", "group") as tracker,
        ):
            wait_until(lambda: any(address in message for message in read_messages(caplog, logging.INFO)))
            stop()
            use_everything(tracker)
            tracker.log_table("table", ["name"], [["one"]])  # W&B's client would wait for the server
    log = find_log(run_dir, "run-*")
    assert read_summary(log)["summary"]["pairs_done"] == 4
    assert warnings_in(caplog) == [
        f"W&B: {address} does not answer. The run goes on; some of its record may be missing.",
        f"W&B has not received the whole run; to send the rest: wandb sync --include-online '{log.parent}'",
    ]
    assert "Would sync 1 run(s)" in dry_sync("--include-online", str(log.parent))


def test_a_value_that_wandb_refuses_is_one_warning(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    with open_tracker(make_config(), run_dir, "amplify", "group") as tracker:
        tracker.log({1: 2.0}, step=1)  # type: ignore[dict-item]
        tracker.log({1: 2.0}, step=2)  # type: ignore[dict-item]
        tracker.log({"pairs_per_second": 2.0}, step=3)
    assert read_summary(find_log(run_dir))["summary"]["pairs_done"] == 3
    assert len(warnings_in(caplog)) == 1


def test_tables_are_staged_in_the_run_folder(run_dir: Path, tmp_path: Path) -> None:
    before = dict(os.environ)
    with open_tracker(make_config(), run_dir, "amplify", "group"):
        assert os.environ["WANDB_DATA_DIR"] == str(run_dir / "wandb" / "data")
    assert "WANDB_DATA_DIR" not in os.environ and "WANDB_DATA_DIR" not in before


def test_nothing_is_drawn_that_is_not_tracked(run_dir: Path) -> None:
    drawn = []

    def draw() -> np.ndarray:
        drawn.append(1)
        return np.zeros((4, 6, 3), np.uint8)

    with open_tracker(make_config(name="none"), run_dir, "amplify", "group") as tracker:
        tracker.log_image("samples", draw)
        tracker.log_table("pairs", ["picture"], lambda: [[draw()]])
    assert not drawn
    with open_tracker(make_config(), run_dir, "amplify", "group") as tracker:
        tracker.log_image("samples", draw)
        tracker.log_table("pairs", ["picture"], lambda: [[draw()]])
    assert len(drawn) == 2


def use_everything(tracker: Tracker) -> None:
    tracker.log({"pairs_per_second": 1.0}, step=4)
    tracker.log_image("samples", np.zeros((4, 6, 3), np.uint8))
    tracker.summary({"pairs": 4})


def find_dead_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
