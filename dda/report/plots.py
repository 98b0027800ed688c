"""Plots of an evaluation: metrics by style, by region and by skin tone.

Every function that draws returns a uint8 (H, W, 3) picture with dark text on white.
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
from dda.metrics.labels import format_column, format_unit
from dda.metrics.metric import Column
from dda.regions import REGIONS
from dda.report.fonts import OTHER_FONTS, installed_fonts

TEXT_COLOR, LABEL_COLOR, GRID_COLOR = "#2b2826", "#78716b", "#dedad4"
STYLE_COLORS = ("#b4476a", "#46719c", "#c88a3c", "#5d8a66", "#7d62a3", "#3f9397", "#a5624c", "#777777")
"""Colors of the styles; the first five differ in gray and for color-blind people."""

REGION_COLORS = {"eyes": "#46719c", "lips": "#b4476a", "skin": "#d9a066", "brows": "#6b5a4e"}
NO_STYLE_LABEL = "no style named"

SKIN_TONE_MAX_ITA_DEG = {"dark": -30, "brown": 10, "tan": 28, "intermediate": 41, "light": 55, "very light": 90}
"""Upper limits of the skin tone groups by ITA, in degrees (Chardon 1991; Del Bino 2013)."""

_FONTS = ("DejaVu Sans", *OTHER_FONTS)  # the others for names of styles in scripts that DejaVu Sans lacks
_DPI = 160


def draw_plots(result: Result) -> dict[str, np.ndarray]:
    """Draw every plot that the result has numbers for, by file name without suffix, in the order of the report.

    A column with the same value for all pairs is left out.
    """
    plots = {}
    if any(f"strength_{region}" in result.columns for region in REGIONS) and result.measured:
        plots["strength_by_region"] = draw_strength_by_region(result)
    for name in ("strength", "leakage"):
        if len({value for _, _, value in _collect_points(result, name)}) > 1:
            plots[f"skin_tone_{name}"] = draw_skin_tone(result, name)
    for name in (column.full_name for column in result.columns_of("target")):
        values = {value for group in _group_by_style(result, name).values() for value in group}
        if name != "skin_tone" and len(values) > 1:
            plots[f"distribution_{name}"] = draw_distribution(result, name)
    return plots


def draw_distribution(result: Result, name: str) -> np.ndarray:
    """Draw the values of a column by style: a violin, the quartiles, and a point for every pair.

    Raises:
        ValueError: no pair has a finite value in this column.
    """
    groups = _group_by_style(result, name)
    if not groups:
        raise ValueError(f"draw_distribution: no pair has a finite value of {name}")
    with _plot_style():
        figure, axes = _create_figure(3.6, 0.9 + 0.42 * max(len(groups), 2))
        rows = range(len(groups), 0, -1)  # the first style on top
        for row, color, values in zip(rows, _style_colors(len(groups)), groups.values(), strict=True):
            _draw_group(axes, row, color, values)
        axes.set_yticks(list(rows), [_shorten(style) for style in groups])
        axes.set_ylim(0.4, len(groups) + 0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel(_axis_label(result.columns[name]))
        return _render(figure)


def draw_strength_by_region(result: Result) -> np.ndarray:
    """Draw the mean strength in each region, a group of bars for each style, with 95 % intervals."""
    tables = result.by_style or {"": result.statistics}
    width = 0.8 / len(REGIONS)
    with _plot_style():
        figure, axes = _create_figure(max(4.5, 1.5 * len(tables) + 1), 2.9)
        for index, region in enumerate(REGIONS):
            means = [table.get(f"strength_{region}") for table in tables.values()]
            known = [(group, mean) for group, mean in enumerate(means) if mean and math.isfinite(mean.mean)]
            positions = [group + (index - (len(REGIONS) - 1) / 2) * width for group, _ in known]
            heights = [mean.mean for _, mean in known]
            below = [max(mean.mean - mean.low, 0) for _, mean in known]
            above = [max(mean.high - mean.mean, 0) for _, mean in known]
            axes.bar(positions, heights, width * 0.86, color=REGION_COLORS[region], label=region)
            axes.errorbar(
                positions, heights, [below, above], fmt="none", ecolor=TEXT_COLOR, elinewidth=0.8, capsize=1.6
            )
        axes.set_xticks(range(len(tables)), [_shorten(style, 20) for style in tables])
        axes.tick_params(axis="x", length=0)
        axes.grid(axis="y")
        axes.set_ylabel("Strength (ΔE₀₀)")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(REGIONS), handlelength=0.9, columnspacing=1.4)
        return _render(figure)


def draw_skin_tone(result: Result, name: str) -> np.ndarray:
    """Draw a column against the skin tone of the source (ITA), a point for every pair, with the regression line.

    Raises:
        ValueError: fewer than two pairs have both numbers.
    """
    points = _collect_points(result, name)
    if len(points) < 2:
        raise ValueError(f"draw_skin_tone: {len(points)} pairs have both skin_tone and {name}, at least 2 are needed")
    styles = list(dict.fromkeys(style for style, _, _ in points))
    ita = np.array([x for _, x, _ in points])
    with _plot_style():
        figure, axes = _create_figure(5.6, 3.1)
        legend: list[tuple[Any, str]] = []
        for style, color in zip(styles, _style_colors(len(styles)), strict=True):
            x, y = zip(*((x, y) for own, x, y in points if own == style), strict=True)
            legend.append((axes.scatter(x, y, 14, color=color, alpha=0.75, linewidths=0), _shorten(style)))
        if len(styles) > len(STYLE_COLORS):  # repeated colors identify no style
            legend.clear()
        if np.ptp(ita) > 0:
            slope, intercept = np.polyfit(ita, [y for _, _, y in points], 1)
            ends = np.array([ita.min(), ita.max()])
            (line,) = axes.plot(ends, intercept + slope * ends, color=TEXT_COLOR, linewidth=1.2)
            change = f"{slope * 10:+.2g} {format_unit(result.columns[name].unit)}".rstrip()
            legend.append((line, f"fit: {change} per 10°".replace("-", "−")))
        _mark_skin_tones(axes, ita)
        axes.grid(axis="y")
        axes.set_xlabel("Skin tone of the source, ITA (°), lighter to the right")
        axes.set_ylabel(_axis_label(result.columns[name]))
        axes.legend(
            [handle for handle, _ in legend], [label for _, label in legend], loc="center left",
            bbox_to_anchor=(1, 0.5), handlelength=1.2, handletextpad=0.5,
        )  # fmt: skip
        return _render(figure)


def _draw_group(axes: Axes, row: int, color: str, values: Sequence[float]) -> None:
    if len(values) >= 5 and np.ptp(values) > 0:
        violin: Any = axes.violinplot([values], [row], orientation="horizontal", widths=0.8, showextrema=False)
        for body in violin["bodies"]:
            body.set(facecolor=color, alpha=0.18, linewidth=0)
    jitter = np.random.default_rng(0).uniform(-0.16, 0.16, len(values))
    size = float(np.clip(400 / len(values), 3, 12))
    axes.scatter(values, row + jitter, size, color=color, alpha=0.55, linewidths=0)
    low, median, high = np.percentile(values, [25, 50, 75])
    axes.plot([low, high], [row, row], color=color, linewidth=4.5, alpha=0.45, solid_capstyle="butt")
    axes.plot([median, median], [row - 0.22, row + 0.22], color=TEXT_COLOR, linewidth=1.4)


def _mark_skin_tones(axes: Axes, ita: np.ndarray) -> None:
    """Mark the skin tone groups in view."""
    margin = max(float(np.ptp(ita)) * 0.05, 2.0)
    left, right = float(ita.min()) - margin, float(ita.max()) + margin
    axes.set_xlim(left, right)
    start = -math.inf
    for index, (group, end) in enumerate(SKIN_TONE_MAX_ITA_DEG.items()):
        low, high = max(start, left), min(end, right)
        if left < end < right:
            axes.axvline(end, color=GRID_COLOR, linewidth=0.8, zorder=0)
        if high - low > (right - left) * 0.08:
            height = 1.015 + 0.05 * (index % 2)  # neighbors in two lines, as the groups are narrow
            axes.annotate(
                group, ((low + high) / 2, height), xycoords=("data", "axes fraction"), ha="center", va="bottom",
                color=LABEL_COLOR, fontsize=6.5,
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


def _collect_points(result: Result, name: str) -> list[tuple[str, float, float]]:
    """Return (style, ITA, value) of the pairs that have both numbers."""
    both = [(pair.style, pair.numbers.get("skin_tone"), pair.numbers.get(name)) for pair in result.measured]
    points = [(style, x, y) for style, x, y in both if x is not None and y is not None]
    return sorted(point for point in points if math.isfinite(point[1]) and math.isfinite(point[2]))


def _axis_label(column: Column) -> str:
    unit = format_unit(column.unit)
    return f"{format_column(column.name)} ({unit})" if unit else format_column(column.name)


def _shorten(style: str, letters: int = 26) -> str:
    style = style or NO_STYLE_LABEL
    return style if len(style) <= letters else style[: letters - 1] + "…"


def _style_colors(count: int) -> list[str]:
    return [STYLE_COLORS[index % len(STYLE_COLORS)] for index in range(count)]


def _create_figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure((width, height), dpi=_DPI, layout="constrained")
    return figure, figure.subplots()


def _render(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # one for each letter
        canvas.draw()
    return np.array(canvas.buffer_rgba())[:, :, :3].copy()


@contextmanager
def _plot_style() -> Iterator[None]:
    settings: dict[Any, Any] = {
        "font.family": [font for font in _FONTS if font in installed_fonts()],
        "font.size": 8,
        "text.parse_math": False,  # for styles with a name such as "$1"
        "text.color": TEXT_COLOR,
        "axes.labelcolor": LABEL_COLOR,
        "axes.titlesize": 7.5,
        "axes.edgecolor": GRID_COLOR,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": GRID_COLOR,
        "ytick.color": GRID_COLOR,
        "xtick.labelcolor": TEXT_COLOR,
        "ytick.labelcolor": TEXT_COLOR,
        "grid.color": GRID_COLOR,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "figure.facecolor": "white",
    }
    with matplotlib.rc_context(settings):
        yield
