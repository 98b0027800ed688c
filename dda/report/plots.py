"""The figures of an evaluation: what was measured by style, by region and by skin tone.

Every function returns a uint8 (H, W, 3) picture with a white background and dark ink.
"""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dda.evaluation.result import Result
from dda.metrics.labels import column_label, unit_label
from dda.metrics.metric import Column
from dda.regions import REGIONS
from dda.report.fonts import OTHER_FONTS, installed_fonts

INK, MUTED, LINE = "#2b2826", "#78716b", "#dedad4"
# Muted, and told apart in gray and by color-blind eyes for the first five.
COLORS = ("#b4476a", "#46719c", "#c88a3c", "#5d8a66", "#7d62a3", "#3f9397", "#a5624c", "#777777")
REGION_COLORS = {"eyes": "#46719c", "lips": "#b4476a", "skin": "#d9a066", "brows": "#6b5a4e"}
NO_STYLE = "no style named"

# Upper ends of the groups of skin tone by ITA, in degrees (Chardon 1991; Del Bino 2013).
SKIN_TONES = {"dark": -30, "brown": 10, "tan": 28, "intermediate": 41, "light": 55, "very light": 90}

# For names of styles in letters that DejaVu Sans lacks: fonts that systems come with.
_FONTS = ("DejaVu Sans", *OTHER_FONTS)
_DPI = 160


def draw_plots(result: Result) -> dict[str, np.ndarray]:
    """Draw every figure that the result has numbers for, by file name without suffix, in the order to look at them.

    A column in which all pairs are the same has nothing to show by style or skin tone.
    """
    plots = {}
    if any(f"strength_{region}" in result.columns for region in REGIONS) and result.measured:
        plots["strength_by_region"] = strength_by_region(result)
    for name in ("strength", "leakage"):
        if len({value for _, _, value in _find_points(result, name)}) > 1:
            plots[f"skin_tone_{name}"] = skin_tone(result, name)
    for name in (column.full_name for column in result.columns_of("target")):
        values = {value for group in _group_by_style(result, name).values() for value in group}
        if name != "skin_tone" and len(values) > 1:
            plots[f"distribution_{name}"] = distribution(result, name)
    return plots


def distribution(result: Result, name: str) -> np.ndarray:
    """Draw a column's values by style: a violin, the box of its quartiles, and a point for every pair.

    Raises:
        ValueError: no pair has a finite value in this column.
    """
    groups = _group_by_style(result, name)
    if not groups:
        raise ValueError(f"distribution: no pair has a finite value of {name}")
    with _style():
        figure, axes = _figure(3.6, 0.9 + 0.42 * max(len(groups), 2))
        rows = range(len(groups), 0, -1)  # the first style on top
        for row, color, values in zip(rows, _colors(len(groups)), groups.values(), strict=True):
            _draw_group(axes, row, color, values)
        axes.set_yticks(list(rows), [_short(style) for style in groups])
        axes.set_ylim(0.4, len(groups) + 0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel(_axis_label(result.columns[name]))
        return _picture(figure)


def strength_by_region(result: Result) -> np.ndarray:
    """Draw the mean strength in each region, a group of bars for each style, with 95 % intervals."""
    tables = result.by_style or {"": result.statistics}
    width = 0.8 / len(REGIONS)
    with _style():
        figure, axes = _figure(max(4.5, 1.5 * len(tables) + 1), 2.9)
        for index, region in enumerate(REGIONS):
            means = [table.get(f"strength_{region}") for table in tables.values()]
            shown = [(place, mean) for place, mean in enumerate(means) if mean and math.isfinite(mean.mean)]
            places = [place + (index - (len(REGIONS) - 1) / 2) * width for place, _ in shown]
            heights = [mean.mean for _, mean in shown]
            below = [max(mean.mean - mean.low, 0) for _, mean in shown]
            above = [max(mean.high - mean.mean, 0) for _, mean in shown]
            axes.bar(places, heights, width * 0.86, color=REGION_COLORS[region], label=region)
            axes.errorbar(places, heights, [below, above], fmt="none", ecolor=INK, elinewidth=0.8, capsize=1.6)
        axes.set_xticks(range(len(tables)), [_short(style, 20) for style in tables])
        axes.tick_params(axis="x", length=0)
        axes.grid(axis="y")
        axes.set_ylabel("Strength (ΔE₀₀)")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(REGIONS), handlelength=0.9, columnspacing=1.4)
        return _picture(figure)


def skin_tone(result: Result, name: str) -> np.ndarray:
    """Draw a column against the source's skin tone (ITA in degrees), a point a pair, with a regression line.

    Raises:
        ValueError: fewer than two pairs have both numbers.
    """
    points = _find_points(result, name)
    if len(points) < 2:
        raise ValueError(f"skin_tone: {len(points)} pairs have both skin_tone and {name}, at least 2 are needed")
    styles = list(dict.fromkeys(style for style, _, _ in points))
    ita = np.array([x for _, x, _ in points])
    with _style():
        figure, axes = _figure(5.6, 3.1)
        named: list[tuple[Any, str]] = []
        for style, color in zip(styles, _colors(len(styles)), strict=True):
            x, y = zip(*((x, y) for own, x, y in points if own == style), strict=True)
            named.append((axes.scatter(x, y, 14, color=color, alpha=0.75, linewidths=0), _short(style)))
        if len(styles) > len(COLORS):  # colors that repeat name nothing
            named.clear()
        if np.ptp(ita) > 0:
            slope, start = np.polyfit(ita, [y for _, _, y in points], 1)
            ends = np.array([ita.min(), ita.max()])
            (line,) = axes.plot(ends, start + slope * ends, color=INK, linewidth=1.2)
            change = f"{slope * 10:+.2g} {unit_label(result.columns[name].unit)}".rstrip()
            named.append((line, f"fit: {change} per 10°".replace("-", "−")))
        _draw_skin_tones(axes, ita)
        axes.grid(axis="y")
        axes.set_xlabel("Skin tone of the source, ITA (°), lighter to the right")
        axes.set_ylabel(_axis_label(result.columns[name]))
        axes.legend(
            [drawn for drawn, _ in named], [name for _, name in named], loc="center left", bbox_to_anchor=(1, 0.5),
            handlelength=1.2, handletextpad=0.5,
        )  # fmt: skip
        return _picture(figure)


def _draw_group(axes: Axes, row: int, color: str, values: Sequence[float]) -> None:
    if len(values) >= 5 and np.ptp(values) > 0:
        violin: Any = axes.violinplot([values], [row], orientation="horizontal", widths=0.8, showextrema=False)
        for body in violin["bodies"]:
            body.set(facecolor=color, alpha=0.18, linewidth=0)
    jitter = np.random.default_rng(0).uniform(-0.16, 0.16, len(values))
    size = float(np.clip(400 / len(values), 3, 12))
    axes.scatter(values, row + jitter, size, color=color, alpha=0.55, linewidths=0)
    low, middle, high = np.percentile(values, [25, 50, 75])
    axes.plot([low, high], [row, row], color=color, linewidth=4.5, alpha=0.45, solid_capstyle="butt")
    axes.plot([middle, middle], [row - 0.22, row + 0.22], color=INK, linewidth=1.4)


def _draw_skin_tones(axes: Axes, ita: np.ndarray) -> None:
    """Mark the groups of skin tone that lie in view."""
    margin = max(float(np.ptp(ita)) * 0.05, 2.0)
    left, right = float(ita.min()) - margin, float(ita.max()) + margin
    axes.set_xlim(left, right)
    start = -math.inf
    for index, (group, end) in enumerate(SKIN_TONES.items()):
        low, high = max(start, left), min(end, right)
        if left < end < right:
            axes.axvline(end, color=LINE, linewidth=0.8, zorder=0)
        if high - low > (right - left) * 0.08:
            height = 1.015 + 0.05 * (index % 2)  # neighbors in two lines, as the groups are narrow
            axes.annotate(
                group, ((low + high) / 2, height), xycoords=("data", "axes fraction"), ha="center", va="bottom",
                color=MUTED, fontsize=6.5,
            )  # fmt: skip
        start = end


def _group_by_style(result: Result, name: str) -> dict[str, list[float]]:
    """Return the finite values of a column, by style."""
    groups: dict[str, list[float]] = {}
    for pair in result.measured:
        value = pair.numbers.get(name, math.nan)
        if math.isfinite(value):
            groups.setdefault(pair.style, []).append(value)
    return dict(sorted(groups.items()))


def _find_points(result: Result, name: str) -> list[tuple[str, float, float]]:
    """(style, ITA, value) of the pairs that have both numbers."""
    both = [(pair.style, pair.numbers.get("skin_tone"), pair.numbers.get(name)) for pair in result.measured]
    points = [(style, x, y) for style, x, y in both if x is not None and y is not None]
    return sorted(point for point in points if math.isfinite(point[1]) and math.isfinite(point[2]))


def _axis_label(column: Column) -> str:
    unit = unit_label(column.unit)
    return f"{column_label(column.name)} ({unit})" if unit else column_label(column.name)


def _short(style: str, letters: int = 26) -> str:
    style = style or NO_STYLE
    return style if len(style) <= letters else style[: letters - 1] + "…"


def _colors(count: int) -> list[str]:
    return [COLORS[index % len(COLORS)] for index in range(count)]


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure((width, height), dpi=_DPI, layout="constrained")
    return figure, figure.subplots()


def _picture(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # for each letter of each figure
        canvas.draw()
    return np.array(canvas.buffer_rgba())[:, :, :3].copy()


@contextmanager
def _style() -> Iterator[None]:
    settings: dict[Any, Any] = {
        "font.family": [font for font in _FONTS if font in installed_fonts()],
        "font.size": 8,
        "text.parse_math": False,  # a style may be called "$1"
        "text.color": INK,
        "axes.labelcolor": MUTED,
        "axes.titlesize": 7.5,
        "axes.edgecolor": LINE,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": LINE,
        "ytick.color": LINE,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "grid.color": LINE,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "figure.facecolor": "white",
    }
    with matplotlib.rc_context(settings):
        yield
