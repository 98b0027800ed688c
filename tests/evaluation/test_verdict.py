"""What is said of good pairs, and of the same pairs spoiled."""

import pytest
import torch

from dda.evaluation.result import PairResult, Result
from dda.evaluation.verdict import NO_VERDICT_TEXT, Verdict, find_verdicts
from dda.metrics.strength import Strength
from tests.evaluation.parts import make_result


def as_result(rows: list[dict[str, float]], **set_values: float) -> Result:
    pairs = [PairResult(f"{i}", "ok", numbers=values) for i, values in enumerate(rows)]
    columns = {column.name: column for column in Strength.columns if rows and column.name in rows[0]}
    return make_result(
        title="pairs", pairs_root="pairs", oracle_root=None, created="", columns=columns, pairs=pairs,
        overall={}, by_style={}, set_values=set_values, set_columns={}, missing={}, verdicts=[], best_worst={},
    )  # fmt: skip


@pytest.fixture(scope="module")
def rows(measured: dict[str, dict[str, torch.Tensor]]) -> dict[str, list[dict[str, float]]]:
    """The numbers of each pair, of the good ones and of each way to spoil them."""
    return {
        name: [{key: float(value[i]) for key, value in values.items()} for i in range(2)]
        for name, values in measured.items()
    }


def said(rows: list[dict[str, float]], **set_values: float) -> list[tuple[str, str]]:
    return [(verdict.level, verdict.text) for verdict in find_verdicts(as_result(rows, **set_values))]


def test_good_pairs_are_praised(rows: dict[str, list[dict[str, float]]]) -> None:
    ((level, text),) = said(rows["good"])
    strength = sum(row["strength"] for row in rows["good"]) / 2
    assert level == "good" and text.startswith("These are pairs") and f"{strength:.1f} dE00" in text


@pytest.mark.parametrize(
    ("spoiled_by", "beginnings"),
    [
        ("untouched", ["There is no makeup in these pairs"]),
        ("shuffled", ["These are not pairs"]),
        ("moved edit", ["The makeup lies about 12 pixels beside"]),
        ("over-strong edit", ["The makeup of the lips is over-strong"]),
        ("leaking edit", ["The makeup leaks", "The background changed"]),
    ],
)
def test_what_spoils_them_is_said_first(
    rows: dict[str, list[dict[str, float]]], spoiled_by: str, beginnings: list[str]
) -> None:
    found = said(rows[spoiled_by])
    assert [level for level, _ in found] == sorted((level for level, _ in found), key=["bad", "warn", "good"].index)
    for beginning in beginnings:
        assert ("bad", True) in [(level, text.startswith(beginning)) for level, text in found]
    if spoiled_by != "over-strong edit":  # there it may be several regions
        assert len(found) == len(beginnings)
    assert all("over-strong" in text for _, text in found) == (spoiled_by == "over-strong edit")


def test_a_moved_picture_does_not_lie_on_its_source(rows: dict[str, list[dict[str, float]]]) -> None:
    assert ("bad", "Source and target do not lie on each other: the picture was moved, resized or repainted.") in said(
        rows["moved picture"]
    )


def test_a_few_bad_pairs_among_good_ones_are_counted(rows: dict[str, list[dict[str, float]]]) -> None:
    mixed = rows["good"] * 4 + rows["untouched"][:1] + rows["shuffled"][:1]
    found = said(mixed)
    assert [level for level, _ in found] == ["warn", "warn"]
    texts = " ".join(text for _, text in found)
    assert "1 of 10 pairs are not pairs" in texts
    assert "no makeup in 1 of 9 pairs" in texts  # of those that are pairs at all


def test_faces_that_were_not_found_are_said(rows: dict[str, list[dict[str, float]]]) -> None:
    nan = float("nan")
    faceless = [{**row, **{name: nan for name in row if name != "structure"}} for row in rows["good"]]
    assert [text for _, text in said(faceless)] == [
        "No face was found in the sources: makeup and background could not be measured."
    ]


def test_another_person_in_the_same_picture(rows: dict[str, list[dict[str, float]]]) -> None:
    swapped = [{**row, "identity": 0.85} for row in rows["good"]]
    assert said(swapped) == [("bad", "The targets show other people.")]


def test_styles_that_look_alike(rows: dict[str, list[dict[str, float]]]) -> None:
    assert said(rows["good"], separability=0.95)[0][0] == "good"
    (found,) = said(rows["good"], separability=0.4)
    assert found == ("warn", "The styles are hard to tell apart: 40% of the pairs look like their own style.")


def test_without_pairs_there_is_nothing_to_say() -> None:
    assert find_verdicts(as_result([])) == []


@pytest.mark.parametrize("values", [{}, {"ssim": 0.9, "psnr": 30.0, "eyeliner": 1.4}, {"leakage": float("nan")}])
def test_what_no_verdict_goes_by_is_neither_praised_nor_blamed(values: dict[str, float]) -> None:
    assert find_verdicts(as_result([values], fid=12.0)) == [Verdict("none", NO_VERDICT_TEXT)]


@pytest.mark.parametrize(
    ("values", "of_the_set"),
    [({"leakage": 0.01}, {}), ({"background_error": 0.0}, {}), ({"identity": 0.99}, {}), ({}, {"separability": 0.95})],
)
def test_what_is_good_as_far_as_it_was_measured_is_called_no_more(
    values: dict[str, float], of_the_set: dict[str, float]
) -> None:
    assert find_verdicts(as_result([values], **of_the_set)) == [Verdict("good", "All measured checks passed.")]
