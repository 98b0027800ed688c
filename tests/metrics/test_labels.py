import math

import pytest

from dda.metrics.labels import column_label, count_decimals, format_number, unit_label


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ssim", "SSIM"),
        ("ms_ssim", "MS-SSIM"),
        ("strength", "Strength"),
        ("strength_lips", "Strength, lips"),
        ("oracle_psnr_eyes", "PSNR, eyes to oracle"),
        ("tone_gap_oracle_ms_ssim", "MS-SSIM to oracle, gap over skin tones"),
        ("background_error", "Background error"),
        ("untouched_fid", "Untouched FID"),
        ("consistency My_own_lips", "Consistency My_own_lips"),
    ],
)
def test_names_are_written_as_people_write_them(name: str, shown: str) -> None:
    assert column_label(name) == shown


def test_units() -> None:
    assert [unit_label(unit) for unit in ("dE00", "deg", "dB", "")] == ["ΔE₀₀", "°", "dB", ""]


@pytest.mark.parametrize(
    ("values", "unit", "decimals"),
    [([38.2, math.inf], "dB", 2), ([0.4], "dE00", 2), ([0.987, 1.0], "", 3), ([0.0195, 0.002], "", 4), ([], "", 4)],
)
def test_decimals_go_by_unit_and_size(values: list[float], unit: str, decimals: int) -> None:
    assert count_decimals(values, unit) == decimals


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.98765, "0.988"),
        (-0.25, "−0.250"),
        (0.0, "0"),
        (0.0004, "< 0.001"),
        (-0.0004, "> −0.001"),
        (math.nan, "–"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
    ],
)
def test_exactly_zero_is_told_from_nearly_zero(value: float, shown: str) -> None:
    assert format_number(value, 3) == shown
