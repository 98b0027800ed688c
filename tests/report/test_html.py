import io
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dda.evaluation.result import PairResult, Result, Statistic
from dda.evaluation.verdict import Verdict
from dda.metrics.metric import Column
from dda.report.html import html_report
from tests.evaluation.parts import make_result, numbers

IMAGE_NAME = "<img src=x onerror=alert(1)>"
SCRIPT_NAME = '"></script><script>document.title="taken over"</script>'
STRENGTHS = {"c10": 4.0, "c9": 2.0, IMAGE_NAME: 6.0, SCRIPT_NAME: math.nan, "c1": 8.0}
STYLES = ("Red lip makeup", "Smokey eyes")
COLUMNS = {
    "strength": Column("strength", "dE00", 0, math.inf, "band", "How strong the makeup is."),
    "psnr": Column("psnr", "dB", 0, 100, "none", "Signal to noise."),
    "background_error": Column("background_error", "", 0, 1, "zero", "Pixels changed outside the face."),
}


def make_pair(name: str, index: int, face: np.ndarray) -> PairResult:
    """A pair whose target is redder than its source, and whose oracle is redder still."""
    pictures = {
        side: np.clip(face.astype(int) + [tint, 0, 0], 0, 255).astype(np.uint8)
        for side, tint in (("source", 0), ("target", 40), ("oracle", 80))
    }
    values = {"strength": STRENGTHS[name], "psnr": 30.0 + index, "background_error": 0.0}
    return PairResult(
        name, "ok", style=STYLES[index % 2], face="one", source_path=f"/source/{name}.png",
        target_path=f"/target/{name}.png", oracle_path=f"/oracle/{name}.png",
        numbers=numbers(
            values=values, baseline={"strength": 0.0, "psnr": 100.0, "background_error": 0.0},
            against_oracle={"psnr": 40.0 + index}, untouched_against_oracle={"psnr": 28.0},
        ),
        thumbnails={side: _jpeg(image) for side, image in pictures.items()},
    )  # fmt: skip


def _jpeg(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG")
    return stream.getvalue()


@pytest.fixture
def result(astronaut: np.ndarray) -> Result:
    """Five pairs of two styles, two of them with names that are markup, and a rejected one."""
    pairs = [make_pair(name, index, astronaut[::4, ::4]) for index, name in enumerate(STRENGTHS)]
    pairs.append(PairResult("c2", "rejected", reason="target: <b>empty</b> file", style=STYLES[1]))
    strength = Statistic(5.0, 2.6, 3.25, 6.75, 4)
    return make_result(
        title="my <run>",
        pairs_root="/data/<pairs> & more",
        oracle_root="/data/oracle",
        created="2026-11-22T14:31:08+00:00",
        columns=COLUMNS,
        oracle_columns={"psnr": Column("psnr", "dB", 0, 100, "higher", "Nearness to the truth.")},
        pairs=pairs,
        overall={
            "strength": strength,
            "psnr": Statistic(32.0, 1.6, 30.5, 33.5, 5),
            "background_error": Statistic(0.0, 0.0, 0.0, 0.0, 5),
        },
        baseline={
            "strength": Statistic(0.0, 0.0, 0.0, 0.0, 5),
            "psnr": Statistic(100.0, 0.0, 100.0, 100.0, 5),
            "background_error": Statistic(0.0, 0.0, 0.0, 0.0, 5),
        },
        against_oracle={"psnr": Statistic(42.0, 1.6, 40.25, 43.75, 5)},
        untouched_against_oracle={"psnr": Statistic(28.0, 0.0, 28.0, 28.0, 5)},
        by_style={style: {"strength": strength} for style in STYLES},
        set_values={"separability": 0.93, "tone_gap_strength": -0.5},
        set_columns={
            "separability": Column("separability", "", 0, 1, "higher", "Styles told apart."),
            "tone_gap_strength": Column("tone_gap_strength", "dE00", -math.inf, math.inf, "zero", "Light less dark."),
        },
        missing={"lpips": "no <weights> here"},
        verdicts=[Verdict("good", "The background is untouched."), Verdict("bad", "There is no makeup here.")],
        best_worst={
            "strength": {"lowest": ["c9", "c10"], "highest": ["c1", IMAGE_NAME]},
            "oracle_psnr": {"best": ["c1"], "worst": ["c10"]},
        },
    )  # fmt: skip


@pytest.fixture
def plots() -> dict[str, np.ndarray]:
    gray = np.full((40, 60, 3), 128, np.uint8)
    return {"strength_by_region": gray, "skin_tone_strength": gray, "distribution_strength": gray}


# --- The file -------------------------------------------------------------------------------------------


def text_of(page: bytes) -> str:
    """What a reader sees of the part that needs no script, tags and spaces squeezed."""
    body = page.decode().split("<main>")[1].split("</main>")[0]
    return " ".join(re.sub(r"<[^>]*>", " ", body).split())


def data_of(page: bytes) -> Any:
    return json.loads(page.decode().split('id="data">')[1].split("</script>")[0])


def test_the_worst_verdict_is_the_headline(result: Result, plots: dict[str, np.ndarray]) -> None:
    seen = text_of(html_report(result, plots))
    fault = seen.index("These pairs are not fit for training as they are")
    assert fault < seen.index("There is no makeup here.") < seen.index("The background is untouched.")
    result.verdicts = [Verdict("good", "Fine.")]
    assert "No fault found in these pairs" in text_of(html_report(result, plots))
    result.verdicts = [Verdict("none", "There is no verdict.")]
    seen = text_of(html_report(result, plots))
    assert "No verdict: nothing that it goes by was measured" in seen and "There is no verdict." in seen
    assert "No fault" not in seen
    result.verdicts = []
    assert "No verdict: nothing that it goes by was measured" in text_of(html_report(result, plots))


def test_the_summary_holds_ours_beside_the_baseline_and_the_oracle(
    result: Result, plots: dict[str, np.ndarray]
) -> None:
    seen = text_of(html_report(result, plots))
    assert "Strength ΔE₀₀ ↔ band 5.00 3.25 to 6.75 0 4" in seen
    assert "PSNR dB – 32.00 30.50 to 33.50 100.00 5" in seen
    assert "Background error → 0 0 0 5" in seen
    assert "PSNR dB ↑ higher 42.00 40.25 to 43.75 28.00 5" in seen
    assert "Separability 0.930" in seen
    assert "Strength ΔE₀₀ −0.50 –" in seen
    assert "LPIPS no &lt;weights&gt; here" in seen
    assert "5 pairs measured · 1 rejected · 2 styles · 1 face" in seen


def test_without_an_oracle_nothing_is_said_of_one(result: Result, plots: dict[str, np.ndarray]) -> None:
    result.oracle_root = None
    result.columns = {name: column for name, column in result.columns.items() if "oracle" not in column.comparison}
    assert "racle" not in text_of(html_report(result, plots))


def test_a_result_without_any_pair_is_still_a_page(result: Result) -> None:
    nothing: Any = {}
    result.pairs, result.by_style, result.best_worst, result.verdicts = [], nothing, nothing, []
    result.statistics = nothing
    assert "0 pairs measured" in text_of(html_report(result, {}))


def test_names_cannot_leave_the_place_they_are_put_in(result: Result, plots: dict[str, np.ndarray]) -> None:
    page = html_report(result, plots).decode()
    assert page.count("<script") == 2  # the data and our own
    assert page.count("</script") == 2
    assert "<img src=x" not in page
    assert "<run>" not in page
    assert "<pairs>" not in page
    assert [pair["name"] for pair in data_of(page.encode())["pairs"]] == [pair.name for pair in result.pairs]


def test_numbers_that_json_lacks_are_told_apart(result: Result, plots: dict[str, np.ndarray]) -> None:
    result.pairs[1].numbers["strength"] = math.inf
    pairs = {pair["name"]: pair for pair in data_of(html_report(result, plots))["pairs"]}
    assert pairs[SCRIPT_NAME]["values"][0] is None
    assert pairs["c9"]["values"] == ["Infinity", 31.0, 0.0]


def test_a_picture_that_pairs_share_is_in_the_file_once(result: Result, plots: dict[str, np.ndarray]) -> None:
    data = data_of(html_report(result, plots))
    assert len(data["pictures"]) == 3  # all five pairs have the same source, target and oracle
    assert data["pairs"][0]["pictures"] == data["pairs"][4]["pictures"]


def test_a_name_that_is_no_valid_text_does_not_stop_the_report(result: Result, plots: dict[str, np.ndarray]) -> None:
    result.title = result.pairs[0].name = os.fsdecode(b"caf\xe9")
    assert b"caf\\udce9" in html_report(result, plots)


# --- In a browser ---------------------------------------------------------------------------------------


@dataclass
class Opened:
    """A page, and what it did that it should not."""

    page: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def column(self, index: int) -> list[str]:
        """The texts of a column of the table of pairs, from top to bottom."""
        return self.page.locator(f"#pairs-table tbody tr > :nth-child({index})").all_inner_texts()

    def open_pair(self, name: str) -> None:
        self.page.locator("#pairs-table").get_by_role("button", name=name, exact=True).click()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra: dev)")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip(f"no browser here: none of {', '.join(names)} is on the PATH")
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox"] if root else [])
        yield started
        started.close()


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Callable[[bytes], Opened]]:
    """Open a report from the disk; afterwards it must have asked for nothing and complained of nothing."""
    opened: list[Opened] = []

    def open_page(report: bytes) -> Opened:
        file = tmp_path / "report.html"
        file.write_bytes(report)
        new = Opened(browser.new_page(viewport={"width": 1280, "height": 900}))
        new.page.set_default_timeout(10_000)
        new.page.on("request", lambda request: new.requests.append(request.url))
        new.page.on("console", lambda message: new.complaints.append(message.text))
        new.page.on("pageerror", lambda error: new.complaints.append(str(error)))
        new.page.on("dialog", lambda dialog: new.complaints.append(dialog.message))
        new.page.goto(file.as_uri())
        opened.append(new)
        return new

    yield open_page
    for page in opened:
        assert page.complaints == []
        outside = [url[:80] for url in page.requests if not url.startswith(("data:", "file://"))]
        assert outside == []
        assert sum(url.startswith("file://") for url in page.requests) == 1
        page.page.close()


@pytest.fixture
def opened(show: Callable[[bytes], Opened], result: Result, plots: dict[str, np.ndarray]) -> Opened:
    return show(html_report(result, plots))


def test_the_table_sorts_by_the_header_that_is_clicked(opened: Opened) -> None:
    header = opened.page.locator("#pairs-table thead th", has_text="Strength")
    assert opened.column(1)[-4:] == ["c1", "c2", "c9", "c10"]  # by name, numbers as numbers
    header.get_by_role("button").click()
    assert header.get_attribute("aria-sort") == "ascending"
    strengths = opened.column(4)
    assert strengths[:4] == ["2.00", "4.00", "6.00", "8.00"]
    header.get_by_role("button").press("Enter")
    assert header.get_attribute("aria-sort") == "descending"
    assert opened.column(4)[:4] == ["8.00", "6.00", "4.00", "2.00"]
    assert set(opened.column(1)[-2:]) == {SCRIPT_NAME, "c2"}  # those without a number stay at the end
    assert opened.page.locator("th[aria-sort]").count() == 1


def test_the_filters_filter(opened: Opened) -> None:
    page = opened.page
    page.get_by_label("Style", exact=True).select_option("Red lip makeup")
    assert set(opened.column(2)) == {"Red lip makeup"}
    assert page.get_by_role("status").inner_text() == "3 of 6 pairs"
    page.get_by_label("Style", exact=True).select_option("All styles")
    page.get_by_label("Status", exact=True).select_option("rejected")
    assert opened.column(1) == ["c2"]
    assert opened.column(4) == ["target: <b>empty</b> file"]
    page.get_by_label("Status", exact=True).select_option("All")
    page.get_by_label("Name", exact=True).fill("C1")
    assert opened.column(1) == ["c1", "c10"]
    page.get_by_label("Name", exact=True).fill("nothing like it")
    assert opened.column(1) == ["No pair is like this."]


def test_the_slider_uncovers_the_other_picture(opened: Opened) -> None:
    page = opened.page
    opened.open_pair("c9")
    slider = page.get_by_role("slider")
    box = slider.bounding_box()

    def redness() -> tuple[float, float]:
        """Mean of red less green in the left and the right quarter of the pictures, away from handle and labels."""
        shot = Image.open(io.BytesIO(page.screenshot(clip=box))).convert("RGB")
        drawn = np.asarray(shot).astype(float)[20 : int(box["height"] * 0.4)]
        red = drawn[:, :, 0] - drawn[:, :, 1]
        quarter = red.shape[1] // 4
        return red[:, 20:quarter].mean(), red[:, -quarter:-20].mean()

    slider.fill("0")
    left_target, right_target = redness()
    slider.fill("100")
    left_source, right_source = redness()
    assert left_target > left_source + 15
    assert right_target > right_source + 15
    page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.3)
    assert 48 <= int(slider.input_value()) <= 52
    left, right = redness()
    assert left == pytest.approx(left_source, abs=2)
    assert right == pytest.approx(right_target, abs=2)
    slider.press("ArrowRight")
    page.get_by_text("Source | Oracle").click()
    slider.fill("0")
    assert redness()[0] > left_target + 15


def test_a_pair_opens_from_the_keyboard_and_leads_to_the_next(opened: Opened) -> None:
    page = opened.page
    page.locator("#pairs-table").get_by_role("button", name="c9", exact=True).press("Enter")
    name = page.locator("#detail-name")
    assert name.inner_text() == "c9"
    assert "/target/c9.png" in page.locator("#detail-paths").inner_text()
    assert "PSNR dB\t31.00\t100.00\t32.00" in page.locator("#detail-numbers").inner_text()
    assert "PSNR dB\t41.00\t28.00\t42.00" in page.locator("#detail-numbers").inner_text()
    page.get_by_role("button", name="Next").click()
    assert name.inner_text() == "c10"
    assert page.get_by_role("button", name="Next").is_disabled()
    page.get_by_role("button", name="Previous").click()
    page.get_by_role("button", name="Previous").click()
    assert name.inner_text() == "c2"  # the rejected one: no pictures, no numbers, its reason
    assert page.locator("#detail-facts").inner_text() == "Smokey eyes · rejected: target: <b>empty</b> file"
    assert page.get_by_role("slider").count() == 0
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()


def test_names_stay_text(opened: Opened) -> None:
    page = opened.page
    for name in (IMAGE_NAME, SCRIPT_NAME):
        opened.open_pair(name)
        assert page.locator("#detail-name").inner_text() == name
        page.keyboard.press("Escape")
    assert page.title() == "my <run>: evaluation of makeup pairs"
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("h1").inner_text() == "my <run>"


def test_best_and_worst_go_by_the_chosen_metric(opened: Opened) -> None:
    page = opened.page
    cards = page.locator("#extremes .card")
    assert cards.all_inner_texts() == ["c9\n2.00 ΔE₀₀", "c10\n4.00 ΔE₀₀", "c1\n8.00 ΔE₀₀", f"{IMAGE_NAME}\n6.00 ΔE₀₀"]
    page.get_by_label("By", exact=True).select_option("PSNR to oracle")
    assert page.locator("#extremes h3").all_inner_texts() == ["Best · PSNR to oracle", "Worst · PSNR to oracle"]
    cards.first.click()
    assert page.locator("#detail-name").inner_text() == "c1"


def test_the_policy_stops_what_is_not_ours(opened: Opened) -> None:
    added = """() => {
        const script = document.createElement("script");
        script.textContent = "document.title = 'taken over'";
        document.body.append(script);
        const image = document.createElement("img");
        image.src = "https://example.org/x.png";
        document.body.append(image);
    }"""
    opened.page.evaluate(added)
    opened.page.wait_for_timeout(100)
    assert "taken over" not in opened.page.title()
    assert any("script-src" in text for text in opened.complaints)
    assert any("img-src" in text for text in opened.complaints)
    opened.complaints.clear()
    opened.requests[:] = [url for url in opened.requests if "example.org" not in url]


@pytest.mark.parametrize("width", [420, 1280])
def test_the_page_fits_the_window_and_every_picture_loads(opened: Opened, width: int) -> None:
    opened.page.set_viewport_size({"width": width, "height": 800})
    opened.page.locator("#pairs").scroll_into_view_if_needed()
    opened.page.locator("#pairs-table img:not([src])").first.wait_for(state="detached")
    assert opened.page.evaluate("document.documentElement.scrollWidth") == width
    broken = (
        "[...document.querySelectorAll('main img')].filter((image) => image.complete && !image.naturalWidth).length"
    )
    assert opened.page.evaluate(broken) == 0


def test_a_thousand_pairs(show: Callable[[bytes], Opened], result: Result) -> None:
    first = result.pairs[0]
    result.pairs = [
        PairResult(f"p{index}", "ok", style=first.style, numbers={**first.numbers, "strength": float(index)})
        for index in range(1000)
    ]
    result.best_worst = {}
    opened = show(html_report(result, {}))
    assert opened.page.get_by_role("status").inner_text() == "1000 of 1000 pairs"
    header = opened.page.locator("#pairs-table thead th", has_text="Strength").get_by_role("button")
    header.click()
    header.click()
    assert opened.column(1)[:2] == ["p999", "p998"]
    rows = opened.page.locator("#pairs-table tbody tr")
    while (count := rows.count()) < 1000:  # further rows come as one scrolls
        rows.last.scroll_into_view_if_needed()
        rows.nth(count).wait_for(state="attached")
    assert opened.column(1) == [f"p{index}" for index in range(999, -1, -1)]
    assert opened.page.locator("#extremes").is_hidden()
