"""Fonts of this system that have the letters of a text."""

import logging
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib.ft2font import FT2Font
from PIL import ImageFont

_DEJAVU = str(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
# For names of styles in letters that DejaVu Sans lacks: fonts that systems come with.
OTHER_FONTS = ("Noto Sans CJK KR", "NanumGothic", "Apple SD Gothic Neo", "Malgun Gothic", "Arial Unicode MS")


def find_font(text: str, size: int) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans or, where it lacks letters of the text, the first font of this system that has all."""
    letters = frozenset(map(ord, text))
    paths = [_DEJAVU]
    if not letters <= _letters(_DEJAVU):
        paths = [installed_fonts()[name] for name in OTHER_FONTS if name in installed_fonts()]
    return ImageFont.truetype(next((path for path in paths if letters <= _letters(path)), _DEJAVU), size)


@cache
def _letters(font: str) -> frozenset[int]:
    return frozenset(FT2Font(font).get_charmap())


@cache
def installed_fonts() -> dict[str, str]:
    """Return the files of the fonts of this system, and of matplotlib's own, by name."""
    logging.getLogger("matplotlib.font_manager").setLevel(logging.WARNING)  # not to tell of its own cache
    from matplotlib import font_manager  # searches the whole system when first imported

    return {font.name: str(font.fname) for font in font_manager.fontManager.ttflist}
