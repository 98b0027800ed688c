import csv
import math
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dda.evaluation.result import Statistic, metrics_json
from dda.evaluation.verdict import Verdict
from dda.metrics.metric import Column
from dda.sweep.evaluation_table import compare, summary_table
from tests.evaluation.parts import make_result


def write_evaluation(folder: Path, **parts: Any) -> Path:
    def columns(*names: str) -> dict[str, Column]:
        known = dict.fromkeys(name for part in names for name in parts.get(part, {}))
        return {name: Column(name, "", -1, 1, "none", "Similarity.") for name in known}

    others: dict[str, Any] = {"set_values": {}, "set_columns": {}, "missing": {}, "best_worst": {}, "verdicts": []}
    result = make_result(
        title=folder.name, pairs_root="root", oracle_root=None, created="2026-11-22T00:00:00+00:00", pairs=[],
        columns=columns("overall", "baseline"), by_style={},
        oracle_columns=columns("against_oracle", "untouched_against_oracle"), **(others | parts),
    )  # fmt: skip
    folder.mkdir()
    (folder / "metrics.json").write_bytes(metrics_json(result))
    return folder


def mean(value: float) -> Statistic:
    return Statistic(value, math.nan, math.nan, math.nan, 1)


def read_csv(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_every_number_is_in_the_file_and_the_main_ones_are_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = Verdict("bad", "There is no makeup in these pairs.")
    folders = [
        write_evaluation(
            tmp_path / "one", overall={"ssim": mean(0.5), "strength": mean(3)}, baseline={"ssim": mean(1)},
            against_oracle={"psnr_face": mean(36)}, untouched_against_oracle={"psnr_face": mean(28.47)},
        ),
        write_evaluation(
            tmp_path / "two", overall={"ssim": mean(math.nan)}, set_values={"fid": 10.25},
            verdicts=[bad, Verdict("good", "Fine.")],
        ),
    ]  # fmt: skip
    compare({folder.name: folder for folder in folders}, tmp_path)
    one, two = read_csv(tmp_path / "sweep_summary.csv")
    assert one == {
        "evaluation": "one", "pairs_root": "root", "ok": "0", "rejected": "0",
        "ssim": "0.5", "untouched_ssim": "1", "strength": "3", "oracle_psnr_face": "36",
        "untouched_oracle_psnr_face": "28.47", "fid": "",
    }  # fmt: skip
    assert (two["ssim"], two["strength"], two["fid"]) == ("", "", "10.25")
    printed = capsys.readouterr().out
    assert "36.00" in printed and "28.47" in printed and "10.25" not in printed
    assert "two: There is no makeup in these pairs." in printed and "Fine." not in printed


def test_measures_that_are_no_main_ones_are_printed_where_there_are_no_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_evaluation(tmp_path / "one", overall={"ssim": mean(0.5)}, baseline={"ssim": mean(1)})
    compare({"one": folder}, tmp_path)
    printed = capsys.readouterr().out
    assert "SSIM" in printed and "0.500" in printed and "Untouched" in printed and "1.000" in printed


def test_words_of_the_table_stay_whole_on_a_narrow_terminal() -> None:
    overall = {name: {"mean": 0.5} for name in ("strength", "leakage", "background_error", "detail_kept")}
    result = {
        "pairs": {"ok": 50},
        "overall": overall,
        "baseline": {},
        "against_oracle": {"psnr_face": {"mean": 33.7}},
        "untouched_against_oracle": {"psnr_face": {"mean": 28.47}},
        "set_values": {},
    }
    printed = StringIO()
    Console(width=80, file=printed).print(summary_table({"five_0_natural": result, "five_1_" + "long" * 9: result}))
    for word in ("evaluation", "Strength", "Leakage", "Background", "Detail", "Untouched", "oracle", "33.70", "28.47"):
        assert word in printed.getvalue()


def test_a_multirun_of_evaluations_is_compared(
    undisturbed: Path, run_here: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An evaluation that failed is told, and has no row."""
    with pytest.raises(SystemExit, match="job 0_empty failed"):
        run_here(
            "run_eval.py", "-m", f"run={tmp_path / 'empty'},{undisturbed}", "metrics=[ssim]", "num_samples=2",
            f"paths.outputs={tmp_path}", "device=cpu",
        )  # fmt: skip
    (table,) = (tmp_path / "eval").glob("*/sweep_summary.csv")
    (row,) = read_csv(table)
    assert (row["evaluation"], row["ok"]) == ("1_run", "2") and 0 < float(row["ssim"]) < 1
    assert "Table in" in capsys.readouterr().out


def test_the_same_pairs_measured_in_two_ways_are_two_evaluations(
    undisturbed: Path, run_here: Callable[..., None], tmp_path: Path
) -> None:
    run_here(
        "run_eval.py", "-m", f"run={undisturbed}", "metrics=[ssim]", "num_samples=2,4",
        f"paths.outputs={tmp_path}", "device=cpu",
    )  # fmt: skip
    (sweep,) = (tmp_path / "eval").iterdir()
    rows = read_csv(sweep / "sweep_summary.csv")
    assert [(row["evaluation"], row["ok"]) for row in rows] == [
        ("0_run num_samples=2", "2"),
        ("1_run num_samples=4", "4"),
    ]
    assert all((sweep / name / "report.html").is_file() for name in ("0_run", "1_run"))
