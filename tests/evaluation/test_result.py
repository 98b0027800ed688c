import json
import math
from dataclasses import replace
from typing import Any

import pytest

from dda.evaluation.result import PairResult, Result, Statistic, metrics_json, pairs_table
from dda.evaluation.verdict import Verdict
from dda.metrics.metric import Column
from tests.evaluation.parts import make_result, numbers

SSIM = Column("ssim", "", -1, 1, "none", "Similarity.")
PSNR = Column("psnr", "dB", 0, 100, "higher", "Ratio.")
LINER = Column("eyeliner", "", 0, math.inf, "none", "Edges.")


@pytest.fixture
def result() -> Result:
    good = PairResult(
        "a/b", "ok", "", "Red", "f" * 64, "s/a/b.png", "t/a/b.png", "o/b.png",
        numbers=numbers(
            values={"ssim": 0.5, "psnr": 30.0, "eyeliner": math.inf}, baseline={"ssim": 1.0, "psnr": 100.0},
            against_oracle={"psnr": math.nan}, untouched_against_oracle={"psnr": 20.0}, made={"raw_leakage": 0.125},
        ),
        thumbnails={"source": b"jpeg"},
    )  # fmt: skip
    return make_result(
        title="run", pairs_root="pairs", oracle_root=None, created="2026-11-22T00:00:00+00:00",
        columns={"ssim": SSIM, "psnr": PSNR, "eyeliner": LINER}, oracle_columns={"psnr": PSNR},
        pairs=[good, PairResult("lost\udce9", "rejected", "no target of this name")],
        overall={"ssim": Statistic(0.5, math.nan, math.nan, math.nan, 1)},
        baseline={"psnr": Statistic(math.nan, math.nan, math.nan, math.nan, 0)},
        against_oracle={}, untouched_against_oracle={}, by_style={"Red": {"ssim": Statistic(0.5, 0, 0.5, 0.5, 1)}},
        set_values={"separability": 0.75},
        set_columns={"separability": replace(SSIM, name="separability", weights="none")},
        missing={"fid": "no weights"}, verdicts=[Verdict("bad", "There is no makeup.")],
        best_worst={"psnr": {"best": ["a/b"], "worst": []}},
    )  # fmt: skip


def read(result: Result) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(metrics_json(result), parse_constant=refuse)


def test_the_json_holds_the_sets_numbers_in_a_versioned_form(result: Result) -> None:
    found = read(result)
    assert found["schema_version"] == 1
    assert found["pairs"] == {"ok": 1, "rejected": 1, "by_style": {"Red": 1}}
    assert found["overall"]["ssim"] == {"mean": 0.5, "sd": None, "low": None, "high": None, "count": 1}
    assert found["by_style"]["Red"]["ssim"]["mean"] == 0.5
    assert found["columns"]["psnr"]["unit"] == "dB"
    assert found["set_columns"]["separability"]["weights"] == "none"
    assert found["set_values"] == {"separability": 0.75}
    assert found["missing"] == {"fid": "no weights"}
    assert found["verdicts"] == [{"level": "bad", "text": "There is no makeup."}]
    assert found["rejected"] == [{"name": "lost\udce9", "reason": "no target of this name"}]


def test_what_json_lacks_is_null(result: Result) -> None:
    found = read(result)
    assert found["baseline"]["psnr"] == {"mean": None, "sd": None, "low": None, "high": None, "count": 0}
    assert found["columns"]["eyeliner"]["high"] is None and found["columns"]["psnr"]["high"] == 100


def test_the_table_has_a_row_a_pair_and_a_column_a_number(result: Result) -> None:
    good, lost = pairs_table(result).to_pylist()
    assert good["name"] == "a/b" and good["status"] == "ok" and good["oracle_path"] == "o/b.png"
    assert (good["ssim"], good["psnr"]) == (0.5, 30.0)
    assert (good["baseline_ssim"], good["eyeliner"]) == (1.0, math.inf)
    assert math.isnan(good["oracle_psnr"]) and good["untouched_oracle_psnr"] == 20.0
    assert good["made_raw_leakage"] == 0.125
    assert lost["name"] == "lost\\udce9" and lost["reason"] == "no target of this name" and lost["ssim"] is None


def test_measured_and_rejected_part_the_pairs(result: Result) -> None:
    assert [pair.name for pair in result.measured] == ["a/b"]
    assert [pair.reason for pair in result.rejected] == ["no target of this name"]
