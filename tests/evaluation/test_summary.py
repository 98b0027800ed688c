import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from dda.evaluation.evaluator import Measurement
from dda.evaluation.metric_suite import MetricSuite
from dda.evaluation.result import PairResult, Result
from dda.evaluation.summary import summarize
from tests.evaluation.parts import numbers

NAMES = ["psnr", "strength", "leakage", "background", "skin_tone", "separability", "consistency"]
REGION_COLUMNS = ("strength", "strength_eyes", "strength_lips", "strength_skin", "strength_brows")


@pytest.fixture(scope="module")
def suite() -> MetricSuite:
    return MetricSuite(NAMES, torch.device("cpu"))


def make(index: int, style: str = "", **values: float) -> Measurement:
    """A measured pair of face number ``index``."""
    usual = {
        "psnr": 30.0,
        "leakage": 0.0,
        "background_error": 0.0,
        "skin_tone": 20.0,
        **dict.fromkeys(REGION_COLUMNS, 3.0),
    }
    pair = PairResult(
        f"{index:02d}", "ok", "", style, f"face {index}", numbers=numbers(values=usual | values, baseline=usual)
    )
    return Measurement(pair, np.full((4, 3), 1.0))


def summary(suite: MetricSuite, measurements: Sequence[Measurement], oracle: str | None = None) -> Result:
    return summarize("set", "pairs", oracle, measurements, suite, seed=0)


def test_statistics_are_over_the_measured_pairs_a_number_applies_to(suite: MetricSuite) -> None:
    values = [10.0, 20.0, 60.0, 25.0, 35.0, math.nan]
    rejected = Measurement(PairResult("lost", "rejected", "no target of this name"))
    result = summary(suite, [*(make(i, psnr=value) for i, value in enumerate(values)), rejected])
    found = result.statistics["psnr"]
    assert (found.mean, found.count) == (30, 5) and found.sd == pytest.approx(np.std(values[:5], ddof=1))
    assert found.low < 30 < found.high
    assert result.statistics["baseline_psnr"].mean == 30 and result.statistics["leakage"].count == 6
    assert len(result.pairs) == 7 and result.by_style == {}


def test_each_style_has_its_own_statistics(suite: MetricSuite) -> None:
    result = summary(suite, [make(i, "Red" if i % 2 else "Smoke", strength=float(i % 2)) for i in range(6)])
    assert list(result.by_style) == ["Red", "Smoke"]
    assert [result.by_style[style]["strength"].mean for style in ("Red", "Smoke")] == [1, 0]
    assert result.set_values["consistency Red"] == pytest.approx(1)


def test_what_the_set_is_too_small_for_is_missing_with_its_reason(suite: MetricSuite) -> None:
    result = summary(suite, [make(0), make(1)])
    assert set(result.missing) == {"separability", "consistency"}
    assert "separability" not in result.set_values


def test_the_skin_tone_gap_is_the_lightest_third_less_the_darkest(suite: MetricSuite) -> None:
    result = summary(suite, [make(i, skin_tone=10.0 * i, strength=2.0 * i) for i in range(6)])
    assert result.set_values["tone_gap_strength"] == pytest.approx(9 - 1)
    assert result.set_values["tone_rank_strength"] == pytest.approx(1)
    assert result.set_columns["tone_gap_strength"].unit == "dE00"
    assert "tone_gap_psnr" not in result.set_values  # neither end of it is better


def test_the_two_ends_of_a_column_are_named_and_those_that_tell_nothing_apart_are_not(suite: MetricSuite) -> None:
    result = summary(suite, [make(i, psnr=float(i), leakage=i / 10) for i in range(10)])
    assert result.best_worst["leakage"] == {"best": ["00", "01", "02", "03"], "worst": ["09", "08", "07", "06"]}
    assert result.best_worst["psnr"] == {"lowest": ["00", "01", "02", "03"], "highest": ["09", "08", "07", "06"]}
    assert "background_error" not in result.best_worst
    few = summary(suite, [make(i, leakage=i / 10) for i in range(3)])
    assert few.best_worst["leakage"] == {"best": ["00"], "worst": ["02"]}


def test_what_the_amplifier_noted_is_a_column(suite: MetricSuite) -> None:
    noted = make(0, "Red")
    noted.pair.numbers["made_raw_leakage"] = 0.25
    result = summary(suite, [noted, make(1)])
    assert result.statistics["raw_leakage"].mean == 0.25 and result.statistics["raw_leakage"].count == 1
    assert "raw_leakage" in result.columns and "raw_leakage" not in summary(suite, [make(0)]).columns


def test_pairs_without_an_oracle_are_counted(suite: MetricSuite) -> None:
    compared = make(0)
    compared.pair.oracle_path = "truth/00.png"
    short = [column.name for column in suite.oracle_columns.values() if column.comparison == "oracle"]
    compared.pair.numbers |= numbers(
        against_oracle=dict.fromkeys(short, 40.0), untouched_against_oracle=dict.fromkeys(short, 30.0)
    )
    result = summary(suite, [compared, make(1), make(2)], oracle="truth")
    assert result.missing["oracle"] == "2 of 3 pairs have no picture of their name in truth"
    assert result.statistics["oracle_psnr"].mean == 40 and result.statistics["untouched_oracle_psnr_lips"].mean == 30
    assert summary(suite, [make(0)]).columns_of("oracle") == []


def test_an_oracle_that_no_metric_is_taken_to_is_told(suite: MetricSuite) -> None:
    compared = make(0)
    compared.pair.oracle_path = "truth/00.png"
    strength = MetricSuite(["strength"], torch.device("cpu"))
    assert summary(strength, [compared], oracle="truth").missing["oracle"].startswith("none of the metrics")
    assert "oracle" not in summary(suite, [compared], oracle="truth").missing


def test_fid_is_taken_to_the_oracle_beside_the_untouched_source(suite: MetricSuite) -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 8, 16, generator=generator)  # sides, pairs, numbers
    measurements = [make(i) for i in range(8)]
    for index, measurement in enumerate(measurements):
        source, oracle, noise = features[:, index]
        measurement.features = {"source": source + 5, "oracle": oracle, "target": oracle + 0.01 * noise}
    with_inception = MetricSuite(["psnr"], torch.device("cpu"))
    with_inception.names += ["fid", "kid"]  # as where the weights are at hand
    found = summary(with_inception, measurements).set_values
    assert found["fid"] < 1 < 100 < found["untouched_fid"]
    assert found["kid"] < found["untouched_kid"]
    others = [make(8 + i) for i in range(8)]  # without an oracle they have no part in it
    for measurement in others:
        measurement.features = dict.fromkeys(("source", "target"), torch.full((16,), 99.0))
    assert summary(with_inception, [*measurements, *others]).set_values == found
    one = summary(with_inception, [measurements[0], *others])
    assert "fid" not in one.set_values and "with an oracle" in one.missing["fid"]
    for measurement in measurements:
        del measurement.features["oracle"]
    moved = summary(with_inception, measurements)
    assert moved.set_values.keys() == {"fid", "kid"}
    assert {column.better for column in moved.set_columns.values()} == {"none"}  # the nearest is who paints nothing
