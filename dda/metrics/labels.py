"""How the names, units and numbers of metrics are written for people to read."""

import math
from collections.abc import Iterable

from dda.regions import REGIONS

_NAMES = {"ms_ssim": "MS-SSIM", "st_lpips": "ST-LPIPS", "skin_tone": "Skin tone (ITA)"}
_ACRONYMS = ("ssim", "psnr", "lpips", "fid", "kid")
_AFFIXES = {
    "untouched_": "Untouched {}",
    "oracle_": "{} to oracle",
    "tone_gap_": "{}, gap over skin tones",
    "tone_rank_": "{}, rank correlation with skin tone",
}
_UNITS = {"dE00": "ΔE₀₀", "deg": "°"}


def column_label(name: str) -> str:
    """Return what a column is called: "strength_lips" is "Strength, lips", "ms_ssim" is "MS-SSIM".

    A name with a space holds words of the user's ("consistency Red_lip"), which stay as they are.

        >>> column_label("strength_lips"), column_label("tone_gap_psnr")
        ('Strength, lips', 'PSNR, gap over skin tones')
    """
    if name in _NAMES:
        return _NAMES[name]
    if " " in name:
        return name[:1].upper() + name[1:]
    for prefix, form in _AFFIXES.items():
        if name.startswith(prefix):
            return form.format(column_label(name.removeprefix(prefix)))
    stem, _, region = name.rpartition("_")
    if stem and region in REGIONS:
        return f"{column_label(stem)}, {region}"
    text = " ".join(word.upper() if word in _ACRONYMS else word for word in name.split("_"))
    return text[:1].upper() + text[1:]


def unit_label(unit: str) -> str:
    """Return a unit as people read it: "dE00" is "ΔE₀₀", "deg" is "°"."""
    return _UNITS.get(unit, unit)


def count_decimals(values: Iterable[float], unit: str) -> int:
    """Return the decimals of the numbers of one column: 2 where they have a unit, else 3, or 4 if all are small."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    return 2 if unit or largest >= 10 else 3 if largest >= 0.1 else 4


def format_number(value: float, decimals: int) -> str:
    """Format a number with so many decimals; exactly zero is "0", and what is only near it is not: "< 0.001"."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0:
        return "0"
    least = 10.0**-decimals
    if abs(value) < least / 2:
        return f"{'<' if value > 0 else '>'} {least if value > 0 else -least:.{decimals}f}".replace("-", "−")
    return f"{value:.{decimals}f}".replace("-", "−")
