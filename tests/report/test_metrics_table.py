import math
from dataclasses import replace

import pytest
from rich.console import Console

from dda.evaluation.result import PairResult, Result, Statistic
from dda.evaluation.verdict import Verdict
from dda.metrics.metric import Column
from dda.report.metrics_table import result_table
from tests.evaluation.parts import make_result

PSNR = Column("psnr", "dB", 0, 100, "higher", "Ratio.")
LEAKAGE = Column("leakage", "", 0, 1, "lower", "Share.")


@pytest.fixture
def result() -> Result:
    one, equal = Statistic(0.125, 0.01, 0.1, 0.15, 3), Statistic(100, 0, 100, 100, 3)
    return make_result(
        title="my [red]run[/red]", pairs_root="pairs", oracle_root="truth", created="2026-11-22T00:00:00+00:00",
        columns={"leakage": LEAKAGE}, oracle_columns={"psnr": PSNR},
        pairs=[PairResult("a", "ok"), PairResult("b", "rejected", "sizes differ"), PairResult("c", "rejected", "gone")],
        overall={"leakage": one}, baseline={"leakage": replace(one, mean=math.nan)},
        against_oracle={"psnr": equal}, untouched_against_oracle={"psnr": replace(one, mean=31.5)},
        by_style={},
        set_values={"tone_gap_leakage": -0.0625, "separability": 0.75},
        set_columns={"tone_gap_leakage": LEAKAGE, "separability": replace(LEAKAGE, name="separability")},
        missing={"fid": "no weights"}, verdicts=[Verdict("bad", "There is no [makeup].")], best_worst={},
    )  # fmt: skip


def test_ours_and_the_untouched_source_stand_side_by_side_in_80_columns(result: Result) -> None:
    console = Console(width=80, record=True)
    console.print(result_table(result))
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert "my [red]run[/red]: 1 pair" in lines
    assert "Leakage ↓ 0.125 0.100 to 0.150 – −0.062" in lines
    assert "PSNR (dB) ↑ 100.00 31.50" in lines
    assert "Separability ↓ 0.750" in lines and not any("gap over" in line for line in lines)
    assert "Rejected 1: sizes differ" in lines and "Rejected 1: gone" in lines
    assert "Not measured: FID: no weights" in lines
    assert "There is no [makeup]." in lines


def test_what_is_missing_is_one_line(result: Result) -> None:
    result.missing = {"fid": "no weights", "kid": "few pairs", "lpips": "no weights"}
    console = Console(width=80, record=True)
    console.print(result_table(result))
    assert "Not measured: FID, KID, LPIPS; the report says why and what to do" in console.export_text().splitlines()
