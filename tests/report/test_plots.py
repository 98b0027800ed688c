import math
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from dda.evaluation.result import PairResult, Result, Statistic
from dda.metrics.metric import Column
from dda.regions import REGIONS
from dda.report.plots import INK, LINE, REGION_COLORS, distribution, draw_plots, skin_tone, strength_by_region

UNITS = {"leakage": "", "skin_tone": "deg", "background_error": "", "ssim": ""}
BETTER = {"background_error": "zero", "ssim": "none"}


def make_result(pairs: Sequence[tuple[str, Mapping[str, float]]]) -> Result:
    """A result whose pairs are (style, values); the statistics are those of the values."""
    names = list(dict.fromkeys(name for _, values in pairs for name in values))
    columns = {
        name: Column(name, UNITS.get(name, "dE00"), -math.inf, math.inf, BETTER.get(name, "band"), "") for name in names
    }
    rows = [
        PairResult(f"{index}", "ok", style=style, face=f"{index}", numbers=dict(values))
        for index, (style, values) in enumerate(pairs)
    ]
    by_style = {
        style: _statistics([r for r in rows if r.style == style], names) for style in {s for s, _ in pairs if s}
    }
    return Result(
        "run", "pairs", None, "2026-01-01T00:00:00+00:00", columns, rows, _statistics(rows, names), by_style,
        {}, {}, {}, [], {},
    )  # fmt: skip


def _statistics(rows: Sequence[PairResult], names: Sequence[str]) -> dict[str, Statistic]:
    means = {name: float(np.mean([row.numbers[name] for row in rows if name in row.numbers])) for name in names if rows}
    return {name: Statistic(mean, 0.1, mean - 0.1, mean + 0.1, len(rows)) for name, mean in means.items()}


def is_color(picture: np.ndarray, color: str) -> np.ndarray:
    """Where a picture has exactly this color, (H, W)."""
    return (picture == np.round(np.array(to_rgb(color)) * 255).astype(np.uint8)).all(-1)


@pytest.fixture
def everything() -> Result:
    """Twelve pairs of two styles with every kind of column."""
    drawn = np.random.default_rng(0)
    strengths = ("strength", *(f"strength_{region}" for region in REGIONS))
    return make_result(
        [
            (
                ("Red lip makeup", "Smokey eyes")[index % 2],
                {name: float(drawn.uniform(2, 9)) for name in strengths}
                | {"leakage": 0.01 * index, "skin_tone": 5.0 * index, "background_error": 0.0},
            )
            for index in range(12)
        ]
    )


def test_every_column_that_can_be_drawn_is_drawn_once_in_a_fixed_order(everything: Result) -> None:
    plots = draw_plots(everything)
    strengths = ["strength", *(f"strength_{region}" for region in REGIONS), "leakage"]
    assert list(plots) == [
        "strength_by_region", "skin_tone_strength", "skin_tone_leakage", *(f"distribution_{name}" for name in strengths)
    ]  # fmt: skip
    for picture in plots.values():
        assert picture.dtype == np.uint8
        assert picture.shape[2] == 3
        assert (picture[[0, -1]] == 255).all()
        assert is_color(picture, INK).any()


def test_drawing_leaves_the_settings_of_matplotlib_alone(everything: Result) -> None:
    before = dict(matplotlib.rcParams)
    strength_by_region(everything)
    assert dict(matplotlib.rcParams) == before


def test_without_a_measured_pair_there_is_nothing_to_draw(everything: Result) -> None:
    for pair in everything.pairs:
        pair.status = "rejected"
    assert draw_plots(everything) == {}


def test_bars_are_as_high_as_the_strengths() -> None:
    strengths = {"strength_eyes": 2.0, "strength_lips": 8.0, "strength_skin": 4.0, "strength_brows": 6.0}
    picture = strength_by_region(make_result([("Red lip makeup", strengths), ("Smokey eyes", strengths)]))
    heights = {}
    for region, color in REGION_COLORS.items():
        columns = is_color(picture, color)[50:].sum(0)  # the legend lies above
        heights[region] = columns[columns > 0]
    unit = np.median(heights["eyes"]) / 2
    for region in REGIONS:
        assert np.median(heights[region]) / unit == pytest.approx(strengths[f"strength_{region}"], rel=0.08)


@pytest.mark.parametrize(("slope", "up"), [(0.1, True), (-0.1, False)])
def test_the_fitted_line_goes_the_way_the_values_go(slope: float, up: bool) -> None:
    pairs = [("Red lip makeup", {"skin_tone": ita, "strength": 10 + slope * ita}) for ita in (-20.0, 0.0, 20.0, 40.0)]
    picture = skin_tone(make_result(pairs), "strength")
    rows, columns = np.nonzero(is_color(picture, LINE))
    box = (slice(rows.min() + 2, rows.max() - 2), slice(columns.min() + 2, columns.max() - 2))
    rows, columns = np.nonzero(is_color(picture[box], INK))
    left, right = (rows[columns == end].mean() for end in (columns.min(), columns.max()))
    assert (right < left) == up
    assert abs(right - left) > 0.5 * picture[box].shape[0]


def test_a_line_needs_two_pairs() -> None:
    with pytest.raises(ValueError, match="1 pairs have both"):
        skin_tone(make_result([("", {"skin_tone": 3.0, "strength": 1.0})]), "strength")


def test_pairs_without_a_finite_value_do_not_count() -> None:
    some = [("Red lip makeup", {"strength": value}) for value in (1.0, 2.0, 4.0)]
    holes = [("Red lip makeup", {"strength": math.nan}), ("Red lip makeup", {"strength": math.inf})]
    np.testing.assert_array_equal(
        distribution(make_result(some + holes), "strength"), distribution(make_result(some), "strength")
    )
    with pytest.raises(ValueError, match="no pair has a finite value of strength"):
        distribution(make_result(holes), "strength")


def test_a_moved_value_moves_its_point() -> None:
    near = make_result([("Red lip makeup", {"strength": value}) for value in (1.0, 2.0, 4.0)])
    far = make_result([("Red lip makeup", {"strength": value}) for value in (1.0, 3.0, 4.0)])
    assert (distribution(near, "strength") != distribution(far, "strength")).any()


@pytest.mark.parametrize("style", ["", "$1 & $2 \\frac", "_" * 300])
def test_any_name_of_a_style_can_be_drawn(style: str) -> None:
    regions = {f"strength_{region}": 1.0 for region in REGIONS}
    pairs = [(style, {"strength": float(n), "skin_tone": 10.0} | regions) for n in range(6)]
    assert set(draw_plots(make_result(pairs))) >= {"strength_by_region", "skin_tone_strength", "distribution_strength"}


def test_more_styles_than_colors() -> None:
    pairs = [(f"style {n}", {"strength": float(n), "skin_tone": float(n)}) for n in range(20)]
    few = draw_plots(make_result(pairs[:2]))["distribution_strength"]
    many = draw_plots(make_result(pairs))["distribution_strength"]
    assert many.shape[0] > 4 * few.shape[0]
