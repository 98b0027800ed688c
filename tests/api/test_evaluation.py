"""`dda.evaluate`: the numbers of `run_eval.py`, from Python."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import dda

METRICS = ["strength", "leakage", "background", "ssim", "separability"]


def test_it_measures_what_the_command_measures(
    undisturbed: Path, tmp_path: Path, run_here: Callable[..., None]
) -> None:
    asked = "metrics=[" + ",".join(METRICS) + "]"
    run_here("run_eval.py", f"run={undisturbed}", asked, f"paths.outputs={tmp_path}", "run_name=all", "device=cpu")
    written = json.loads((tmp_path / "eval/all/metrics.json").read_text())
    evaluation = dda.evaluate(undisturbed, metrics=METRICS)
    assert {name: statistic["mean"] for name, statistic in written["overall"].items()} == {
        name: pytest.approx(evaluation.metrics[name].mean, nan_ok=True) for name in written["overall"]
    }
    assert written["set_values"] == pytest.approx(evaluation.set_metrics)
    assert [verdict["text"] for verdict in written["verdicts"]] == [verdict.text for verdict in evaluation.verdicts]
    assert evaluation.by_style.keys() == written["by_style"].keys()
    assert evaluation.pairs.num_rows == 10


def test_its_report_is_one_file(undisturbed: Path, tmp_path: Path) -> None:
    dda.evaluate(undisturbed, metrics=["strength"], num_samples=2).to_html(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "2 pairs measured" in page and "data:image/png;base64," in page


def test_an_oracle_is_compared(undisturbed: Path) -> None:
    data = undisturbed / "amplified_data"
    evaluation = dda.evaluate(data, oracle=data / "target", metrics=["psnr"], num_samples=2)
    assert evaluation.metrics["oracle_psnr"].mean == 100
    assert evaluation.metrics["untouched_oracle_psnr"].mean < 100


def test_what_cannot_be_measured_is_a_row_with_its_reason(undisturbed: Path, tmp_path: Path) -> None:
    shutil.copytree(undisturbed / "amplified_data", tmp_path / "pairs")
    damaged = sorted((tmp_path / "pairs/target").iterdir())[0]
    damaged.write_bytes(b"no picture")
    evaluation = dda.evaluate(tmp_path / "pairs", metrics=["ssim"])
    rows = {row["name"]: row for row in evaluation.pairs.to_pylist()}
    assert rows[damaged.stem]["status"] == "rejected" and rows[damaged.stem]["reason"].startswith("target: ")
    assert evaluation.metrics["ssim"].count == len(rows) - 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["beauty"]}, "^metrics: there is no metric beauty"),
        ({"num_samples": 0}, "^num_samples=0: must be 1 or more"),
        ({"parser": "eye"}, "^parser=eye: "),
    ],
)
def test_an_option_that_does_not_fit_is_named(options: dict[str, object], message: str, undisturbed: Path) -> None:
    with pytest.raises(dda.OptionError, match=message):
        dda.evaluate(undisturbed, **options)  # type: ignore[arg-type]


def test_a_folder_without_pairs_is_named(tmp_path: Path) -> None:
    with pytest.raises(dda.OptionError, match=f"^folder={tmp_path}"):
        dda.evaluate(tmp_path)
