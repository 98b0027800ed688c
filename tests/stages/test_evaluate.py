import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from dda.config.schema import EvalConfig
from dda.faces.parsing.mesh import MeshParser
from dda.images import read_image, to_tensor, to_uint8
from dda.models.residuals import Residuals, compose
from dda.png import encode_png
from dda.stages import evaluate as stage
from tests.config.test_conf import load_checked

FAST = "metrics=[psnr,structure,strength,leakage,background,detail,skin_tone,separability,consistency]"
STYLES = {"Red lip": ((0.75, 0.1, 0.2), "lips"), "Smoke": ((0.2, 0.15, 0.25), "eyes")}
RunHere = Callable[..., None]


@pytest.fixture(scope="session")
def looks(tmp_path_factory: pytest.TempPathFactory, portraits: list[Any], parser: MeshParser) -> Path:
    """Eight faces in two styles each, with metadata.csv."""
    root = tmp_path_factory.mktemp("looks") / "looks"
    for side in ("source", "target"):
        (root / side).mkdir(parents=True)
    lines = ["source_file_name,target_file_name,style,raw_leakage"]
    for number, picture in enumerate(variants([face.source for face in portraits])):
        (face,) = parser.detect(picture)[:1]
        masks = parser.regions(picture, face).masks
        for style in STYLES:
            name = f"{number}_{style}.png"
            (root / "source" / name).write_bytes(encode_png(picture))
            (root / "target" / name).write_bytes(encode_png(painted(picture, masks, style)))
            lines.append(f"source/{name},target/{name},{style},0.125")
    (root / "metadata.csv").write_text("\n".join(lines) + "\n")
    return root


def variants(pictures: list[np.ndarray]) -> list[np.ndarray]:
    images = [Image.fromarray(picture) for picture in pictures]
    images += [ImageOps.mirror(image) for image in images]
    images += [ImageEnhance.Brightness(image).enhance(0.7) for image in images]
    return [np.array(image) for image in images]


def painted(picture: np.ndarray, masks: np.ndarray, style: str, strength: float = 0.5) -> np.ndarray:
    color, region = STYLES[style]
    source = to_tensor(picture)[None]
    residual = torch.tensor(color)[:, None, None] - source
    gains = torch.tensor([[strength * (name == region) for name in ("eyes", "lips", "skin", "brows")]])
    return to_uint8(compose(source, torch.from_numpy(masks)[None], Residuals(residual), gains)[0])


@pytest.fixture
def changed(looks: Path, tmp_path: Path) -> Callable[[Callable[[np.ndarray, np.ndarray], np.ndarray]], Path]:
    """``changed(change)``: a copy of the looks whose targets are ``change(source, target)``."""

    def make(change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Path:
        root = Path(shutil.copytree(looks, tmp_path / "changed"))
        for file in (root / "target").iterdir():
            picture = change(read_image(root / "source" / file.name), read_image(file))
            file.write_bytes(encode_png(picture))
        return root

    return make


@pytest.fixture
def evaluate(run_here: RunHere, tmp_path: Path) -> Callable[..., Path]:
    """``evaluate("pairs=DIR", ...)``: the folder of the evaluation."""

    def run(*arguments: str) -> Path:
        run_here("run_eval.py", FAST, "device=cpu", f"paths.outputs={tmp_path / 'out'}", *arguments)
        return max((tmp_path / "out" / "eval").iterdir(), key=lambda folder: folder.stat().st_mtime_ns)

    return run


def metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text("utf-8"))


def told(folder: Path, level: str) -> str:
    """The verdicts of one level, as one text."""
    return " ".join(verdict["text"] for verdict in metrics(folder)["verdicts"] if verdict["level"] == level)


def test_a_folder_of_pairs_is_measured_and_told_in_files(
    evaluate: Callable[..., Path], looks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = evaluate(f"pairs={looks}", "num_samples=null")

    assert folder.name == "looks"
    found = metrics(folder)
    assert found["pairs"] == {"ok": 16, "rejected": 0, "by_style": {"Red lip": 8, "Smoke": 8}}
    assert found["overall"]["background_error"] == {"mean": 0, "sd": 0, "low": 0, "high": 0, "count": 16}
    assert found["overall"]["leakage"]["mean"] < 0.05
    assert found["by_style"]["Red lip"]["strength_lips"]["mean"] > 5
    assert found["by_style"]["Smoke"]["strength_lips"]["mean"] < 0.5
    assert found["by_style"]["Red lip"]["raw_leakage"]["mean"] == 0.125  # what the run itself noted
    assert found["baseline"]["strength"]["mean"] == 0
    assert found["set_values"]["separability"] == 1.0
    assert found["set_values"]["consistency Red lip"] > 0.5
    assert "tone_gap_strength" in found["set_values"]
    assert found["verdicts"] and not told(folder, "bad")
    table = pq.read_table(folder / "pairs.parquet").to_pylist()
    assert len(table) == 16 and {row["made_raw_leakage"] for row in table} == {0.125}
    for name in ("samples_visualization.png", "best_worst.png", "plots/strength_by_region.png"):
        assert read_image(folder / name).std() > 10
    report = (folder / "report.html").read_text("utf-8")
    assert "data:image" in report and "Red lip" in report
    out = capsys.readouterr().out
    assert "Untouched" in out and "Strength, lips" in out and "report.html" in out


def test_untouched_copies_are_called_so(evaluate: Callable[..., Path], changed: Callable[..., Path]) -> None:
    folder = evaluate(f"pairs={changed(lambda source, target: source)}", "num_samples=3")
    assert "no makeup" in told(folder, "bad").lower()
    assert metrics(folder)["overall"]["strength"]["mean"] == 0
    assert metrics(folder)["overall"]["leakage"]["count"] == 0  # a share of nothing


def test_shuffled_targets_are_called_so(evaluate: Callable[..., Path], changed: Callable[..., Path]) -> None:
    root = changed(lambda source, target: target)
    files = sorted((root / "target").iterdir())
    pictures = [file.read_bytes() for file in files]
    for file, data in zip(files, [*pictures[6:], *pictures[:6]], strict=True):
        file.write_bytes(data)
    folder = evaluate(f"pairs={root}", "num_samples=3")
    assert "not pairs" in told(folder, "bad").lower()


def test_a_leaking_edit_is_called_so(evaluate: Callable[..., Path], changed: Callable[..., Path]) -> None:
    def leak(source: np.ndarray, target: np.ndarray) -> np.ndarray:
        wrong = target.copy()
        wrong[:, :90] = (0.7 * wrong[:, :90]).astype(np.uint8)
        return wrong

    found = evaluate(f"pairs={changed(leak)}", "num_samples=3")
    text = (told(found, "bad") + told(found, "warn")).lower()
    assert "leak" in text or "background" in text
    assert metrics(found)["overall"]["background_error"]["mean"] > 0.1
    assert metrics(found)["overall"]["leakage"]["mean"] > 0.3


def test_an_over_strong_edit_is_called_so(evaluate: Callable[..., Path], looks: Path, tmp_path: Path) -> None:
    root, parser = Path(shutil.copytree(looks, tmp_path / "strong")), MeshParser()
    for file in (root / "target").iterdir():
        source = read_image(root / "source" / file.name)
        masks = parser.regions(source, parser.detect(source)[0]).masks.copy()
        masks[1] = masks.sum(0)  # lipstick all over
        file.write_bytes(encode_png(painted(source, np.minimum(masks, 1), "Red lip", 0.9)))
    folder = evaluate(f"pairs={root}", "num_samples=3")
    assert "strong" in (told(folder, "bad") + told(folder, "warn")).lower()


def test_a_run_is_measured_with_what_it_measured_itself(
    finish: Callable[..., subprocess.CompletedProcess[str]], undisturbed: Path, tmp_path: Path
) -> None:
    ended = finish(
        "run_eval.py", f"run={undisturbed}", FAST, "device=cpu", f"paths.outputs={tmp_path}", "num_samples=4"
    )
    assert ended.returncode == 0, ended.stderr
    folder = tmp_path / "eval" / "run"
    found, rows = metrics(folder), pq.read_table(folder / "pairs.parquet").to_pylist()
    assert found["pairs"]["ok"] == 4 == len(rows)
    assert found["overall"]["background_error"]["mean"] == 0
    assert all(row["made_makeup_change"] > 0 and row["style"] for row in rows)


def test_latest_is_the_newest_run(
    evaluate: Callable[..., Path], undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "out" / "amplify"
    shutil.copytree(undisturbed, runs / "older")
    shutil.copytree(undisturbed, runs / "newer")
    for file in (runs / "older").rglob("*"):
        os.utime(file, ns=(1, 1))
    folder = evaluate("run=latest", "num_samples=1", "metrics=[psnr]")
    assert folder.name == "newer" and metrics(folder)["pairs_root"] == str(runs / "newer")


def test_with_an_oracle_the_untouched_source_stands_beside_the_target(
    evaluate: Callable[..., Path], looks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = evaluate(f"pairs={looks}", f"oracle={looks}", "num_samples=3", "metrics=[psnr,ssim]")
    found = metrics(folder)
    assert found["against_oracle"]["psnr"] == {"mean": 100, "sd": 0, "low": None, "high": None, "count": 3}
    assert 20 < found["untouched_against_oracle"]["psnr"]["mean"] < 60
    out = capsys.readouterr().out
    assert "Against the oracle" in out and "There is no verdict" in out  # by these two metrics alone
    assert "No fault" not in (folder / "report.html").read_text("utf-8")


def test_files_that_cannot_be_measured_are_named_rows(
    evaluate: Callable[..., Path], changed: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    root = changed(lambda source, target: target)
    torn, other_size, missing, *_ = sorted((root / "target").iterdir())
    torn.write_text("no picture")
    Image.open(other_size).resize((300, 300)).save(other_size)
    missing.unlink()
    Image.new("RGB", (8, 8)).save(root / "target" / "stranger.png")

    folder = evaluate(f"pairs={root}", "num_samples=null", "metrics=[psnr]")

    reasons = {row["name"]: row["reason"] for row in metrics(folder)["rejected"]}
    assert set(reasons) == {torn.stem, other_size.stem, missing.stem, "stranger"}
    assert reasons[torn.stem].startswith("target: not a picture")
    assert reasons[other_size.stem] == "sizes differ: source 512x512, target 300x300"
    assert (reasons[missing.stem], reasons["stranger"]) == ("no target of this name", "no source of this name")
    assert metrics(folder)["pairs"]["ok"] == 13
    assert "Rejected 1: sizes differ" in capsys.readouterr().out


def test_a_new_evaluation_replaces_the_old_one(evaluate: Callable[..., Path], looks: Path) -> None:
    folder = evaluate(f"pairs={looks}", "num_samples=4")
    old = metrics(folder)
    stale = [folder / "best_worst.png", *(folder / "plots").iterdir()]
    assert evaluate(f"pairs={looks}", "num_samples=1", "metrics=[psnr]") == folder
    assert metrics(folder)["pairs"]["ok"] == 1 and set(metrics(folder)["columns"]) == {"psnr"} < set(old["columns"])
    assert not any(file.exists() for file in stale if file.name != "distribution_psnr.png")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], r"run=null pairs=null: exactly one of them must be given"),
        (["run=latest", "pairs=x"], r"run=latest pairs=x: exactly one of them"),
        (["run=latest"], r"run=latest: there is no run in .*amplify yet"),
        (["pairs=nowhere"], r"pairs=nowhere: must be a folder that exists"),
        (["pairs={looks}", "metrics=[simm]"], r"metrics: there is no metric simm; allowed: ssim, "),
        (["pairs={looks}", "metrics=[]"], r"metrics=\[\]: must be null for all, or a list of at least one, such as "),
        (["pairs={looks}", "num_samples=0"], r"num_samples=0: must be at least 1"),
        (["run={looks}"], r"run=.*manifest\.parquet"),
        (["run={runs}"], r"run=.*amplify: is the folder of all runs; give one of those in it"),
        (["pairs={empty}"], r"there is no folder .*empty/source"),
        (["pairs={torn}"], r".*/torn: none of 1 pairs can be measured; the first one is a: source: empty file"),
    ],
)
def test_a_mistake_is_one_line(run_here: RunHere, looks: Path, tmp_path: Path, arguments: list[str], line: str) -> None:
    (tmp_path / "empty").mkdir()
    for side in ("source", "target"):
        (tmp_path / "torn" / side).mkdir(parents=True)
        (tmp_path / "torn" / side / "a.png").touch()
    folders = {"looks": looks, "empty": tmp_path / "empty", "torn": tmp_path / "torn", "runs": tmp_path / "amplify"}
    with pytest.raises(SystemExit, match=f"^dda: {line}") as error:
        run_here("run_eval.py", f"paths.outputs={tmp_path}", *(text.format(**folders) for text in arguments))
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "eval").glob("*/*.json"))


@pytest.mark.parametrize("option", ["batch=large", "parser=farl", "logger=none", "paths=default"])
def test_every_group_composes(looks: Path, option: str) -> None:
    load_checked(EvalConfig, f"pairs={looks}", option)


def test_wandb_gets_the_numbers_the_pictures_and_what_was_measured(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "staging"))
    run = Path(shutil.copytree(undisturbed, tmp_path / "amplify" / "run"))
    (run / "wandb" / "offline-run-20261122_101500-abc123xy").mkdir(parents=True)
    settings = [f"run={run}", f"paths.outputs={tmp_path}", "num_samples=2", "metrics=[psnr,strength]", "device=cpu"]

    stage.main(load_checked(EvalConfig, *settings, "logger.mode=offline"))

    folder = tmp_path / "eval" / "run"
    (log,) = folder.glob("wandb/offline-run-*/*.wandb")
    inspect = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(log)]
    found = json.loads(subprocess.run([*inspect, "--summary"], check=True, capture_output=True, text=True).stdout)
    summary = found["summary"]
    assert summary["pairs_measured"] == 2 and summary["rejected"] == 0
    assert summary["strength"] == pytest.approx(metrics(folder)["overall"]["strength"]["mean"])
    assert summary["untouched/strength"] == 0
    assert summary["pairs"]["nrows"] == 2 and summary["samples_visualization"]["_type"] == "image-file"
    assert "abc123xy" in json.dumps(found["config"])
    records = subprocess.run(inspect, check=True, capture_output=True, text=True).stdout
    assert '"eval"' in records and '"pairs_measured"' in records
