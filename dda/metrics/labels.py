"""Labels of columns, units and numbers, as people read them."""

import math
from collections.abc import Iterable

from dda.regions import REGIONS

_COLUMN_LABELS = {"ms_ssim": "MS-SSIM", "st_lpips": "ST-LPIPS", "skin_tone": "Skin tone (ITA)"}
_ACRONYMS = ("ssim", "psnr", "lpips", "fid", "kid")
_PREFIX_LABELS = {
    "untouched_": "Untouched {}",
    "oracle_": "{} to oracle",
    "tone_gap_": "{}, gap over skin tones",
    "tone_rank_": "{}, rank correlation with skin tone",
}
_UNIT_LABELS = {"dE00": "ΔE₀₀", "deg": "°"}


def format_column(name: str) -> str:
    """Return the label of a column.

    A name with a space ends in a style of the user ("consistency Red_lip"), which stays as it is.

    Example:
        >>> format_column("strength_lips"), format_column("ms_ssim"), format_column("oracle_psnr")
        ('Strength, lips', 'MS-SSIM', 'PSNR to oracle')
    """
    if name in _COLUMN_LABELS:
        return _COLUMN_LABELS[name]
    if " " in name:
        return name[:1].upper() + name[1:]
    for prefix, form in _PREFIX_LABELS.items():
        if name.startswith(prefix):
            return form.format(format_column(name.removeprefix(prefix)))
    stem, _, region = name.rpartition("_")
    if stem and region in REGIONS:
        return f"{format_column(stem)}, {region}"
    text = " ".join(word.upper() if word in _ACRONYMS else word for word in name.split("_"))
    return text[:1].upper() + text[1:]


def format_unit(unit: str) -> str:
    """Return the label of a unit: "dE00" is "ΔE₀₀", "deg" is "°", others are their own."""
    return _UNIT_LABELS.get(unit, unit)


def count_decimals(values: Iterable[float], unit: str) -> int:
    """Return how many decimals the numbers of a column need: 2 with a unit or from 10, else 3, or 4 if all are small.

    Example:
        >>> count_decimals([38.2], "dB"), count_decimals([0.987], ""), count_decimals([0.0195], "")
        (2, 3, 4)
    """
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    return 2 if unit or largest >= 10 else 3 if largest >= 0.1 else 4


def format_number(value: float, decimals: int) -> str:
    """Format a number with so many decimals; exactly 0 is "0", and a value that would round to 0 is "< 0.001".

    Example:
        >>> format_number(0.98765, 3), format_number(0.0, 3), format_number(0.0004, 3), format_number(math.nan, 3)
        ('0.988', '0', '< 0.001', '–')
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    smallest = 10.0**-decimals
    if abs(value) < smallest / 2:
        return f"{'<' if value > 0 else '>'} {smallest if value > 0 else -smallest:.{decimals}f}".replace("-", "−")
    return f"{value:.{decimals}f}".replace("-", "−")
