from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from skimage import data

from dda.images import read_image, resize
from dda.pairs.journal import Journal, PairRow
from dda.pairs.manifest import read_rows, write_manifest
from dda.pairs.writer import PairWriter, pair_name
from dda.report.run_summary import summary_table
from dda.report.samples import GridRow, comparison, samples_from_manifest, samples_visualization

TINTS = {
    "Natural makeup": (255, 240, 235),
    "Glamorous makeup": (255, 200, 220),
    "Smokey eyes": (190, 190, 220),
    "Red lip makeup": (255, 150, 150),
    "Korean makeup": (255, 235, 200),
}
STYLES = list(TINTS)


def make_source(index: int, size: int = 512) -> np.ndarray:
    """The astronaut's face, turned and mirrored into different pictures."""
    face = np.rot90(data.astronaut()[:256, 96:352], index % 4)
    return resize(np.ascontiguousarray(face[:, ::-1] if index % 8 >= 4 else face), (size, size))


def make_target(source: np.ndarray, style: str) -> np.ndarray:
    return (source.astype(np.uint16) * np.array(TINTS[style]) // 255).astype(np.uint8)


def make_row(place: int, face: int, style: str, status: str = "ok", reason: str = "") -> PairRow:
    name = pair_name(place, 0) if status == "ok" else ""
    stage = "write" if status == "ok" else "parse"
    return PairRow(place, 0, f"{face:05d}.png", style, 0, status, stage, reason, name, f"{face:064x}")


def write_run(run_dir: Path, pairs: Sequence[tuple[int, str]]) -> Path:
    """A run whose pairs are (face, style), in the order of the plan."""
    writer = PairWriter(run_dir)
    rows = [make_row(place, face, style) for place, (face, style) in enumerate(pairs)]
    for row, (face, style) in zip(rows, pairs, strict=True):
        source = make_source(face)
        writer.write(row.name, source, make_target(source, style))
    with Journal(run_dir, 0, 1) as journal:
        journal.append(rows)
    write_manifest(run_dir)
    return run_dir


def make_grid_row(face: int, styles: Sequence[str]) -> GridRow:
    source = make_source(face, 64)
    return GridRow(source, {style: make_target(source, style) for style in styles})


def count_tiles(figure: np.ndarray, tile: int = 256) -> tuple[int, int]:
    """Rows and columns of tiles, told from runs of ink at least half a tile long between white gutters."""
    ink = (figure < 250).any(axis=2)
    return _count_runs(ink.mean(axis=1) > 0.3, tile), _count_runs(ink.mean(axis=0) > 0.3, tile)


def _count_runs(marked: np.ndarray, tile: int) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]]).astype(int)))
    return sum(end - start > tile / 2 for start, end in edges.reshape(-1, 2))


def holds(figure: np.ndarray, tile: np.ndarray) -> bool:
    """Whether the figure shows a 256 px tile, pixel for pixel."""
    rows, columns = np.nonzero((figure == tile[0, 0]).all(axis=2))
    corners = ((y, x) for y, x in zip(rows, columns, strict=True) if y + 256 <= figure.shape[0])
    return any(np.array_equal(figure[y : y + 256, x : x + 256], tile) for y, x in corners)


def test_faces_with_all_styles_are_rows() -> None:
    figure = samples_visualization([make_grid_row(face, STYLES) for face in range(2)])
    assert figure.dtype == np.uint8
    assert count_tiles(figure) == (2, 6)


def test_faces_with_one_style_each_are_grouped_by_style() -> None:
    figure = samples_visualization([make_grid_row(face, [STYLES[face % 5]]) for face in range(15)])
    assert count_tiles(figure) == (5, 6)


def test_one_style_fills_lines_of_three_pairs() -> None:
    assert count_tiles(samples_visualization([make_grid_row(face, STYLES[:1]) for face in range(6)])) == (
        2,
        6,
    )


def test_many_tiles_do_not_make_a_larger_figure() -> None:
    small = samples_visualization([make_grid_row(face, STYLES) for face in range(6)])
    large = samples_visualization([make_grid_row(face, STYLES) for face in range(24)])
    assert large.size < 1.1 * small.size


def test_margins_are_white() -> None:
    for rows in ([make_grid_row(0, STYLES)], [make_grid_row(0, STYLES[:1])]):
        figure = samples_visualization(rows)
        border = [figure[:6], figure[-6:], figure[:, :6], figure[:, -6:]]
        assert all((side == 255).all() for side in border)


@pytest.mark.parametrize("name", ["자연", "x" * 300, "[bold]", "Ünïcødé", ""])
def test_any_style_name_is_drawn(name: str) -> None:
    source = make_source(0, 64)
    named = samples_visualization([GridRow(source, {name: source})])
    assert count_tiles(named) == (1, 2)


def test_no_rows_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one face"):
        samples_visualization([])


def test_figure_of_a_run_with_all_styles(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path, [(face, style) for face in range(7) for style in STYLES])
    figure = samples_from_manifest(run_dir)
    written = run_dir / "amplified_data" / "samples_visualization.png"
    assert np.array_equal(read_image(written), figure)
    assert count_tiles(figure) == (6, 6)
    for face in range(6):
        source = make_source(face)
        for tile in (source, *(make_target(source, style) for style in STYLES)):
            assert holds(figure, resize(tile, (256, 256)))
    assert not list(written.parent.glob(".*"))


def test_figure_of_a_run_with_random_styles(tmp_path: Path) -> None:
    pairs = [(face, STYLES[face % 2]) for face in range(7)] + [(0, STYLES[1])]
    figure = samples_from_manifest(write_run(tmp_path, pairs))
    assert count_tiles(figure) == (2, 6)
    for face in range(6):
        source = make_source(face)
        assert holds(figure, resize(make_target(source, STYLES[face % 2]), (256, 256)))


def test_figure_is_the_same_every_time(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path, [(face, style) for face in range(2) for style in STYLES[:2]])
    written = run_dir / "amplified_data" / "samples_visualization.png"
    samples_from_manifest(run_dir)
    first = written.read_bytes()
    samples_from_manifest(run_dir)
    assert written.read_bytes() == first


def test_shards_that_finish_at_once_draw_one_figure(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path, [(0, "Natural makeup")])
    for _ in range(5):
        together = Barrier(6)

        def draw(run: Path, together: Barrier = together) -> np.ndarray:
            together.wait()
            return samples_from_manifest(run)

        with ThreadPoolExecutor(6) as pool:
            figures = list(pool.map(draw, [run_dir] * 6))
        assert all(np.array_equal(figure, figures[0]) for figure in figures)


def test_default_figure_is_below_4_mb(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path, [(face, style) for face in range(6) for style in STYLES])
    samples_from_manifest(run_dir)
    written = run_dir / "amplified_data" / "samples_visualization.png"
    assert written.stat().st_size < 4e6
    assert Image.open(written).width < 1800


def test_pairs_whose_pictures_were_deleted_are_passed_over(tmp_path: Path) -> None:
    kept, run_dir = tmp_path / "kept", tmp_path / "run"
    write_run(kept, [(face, "Natural makeup") for face in range(3)])
    write_run(run_dir, [(face, "Natural makeup") for face in range(4)])
    sides = [sorted((run_dir / "amplified_data" / side).iterdir()) for side in ("source", "target")]
    sides[0][3].unlink()
    assert np.array_equal(samples_from_manifest(run_dir), samples_from_manifest(kept))


def test_a_run_without_pairs_has_no_figure(tmp_path: Path) -> None:
    write_run(tmp_path, [])
    with pytest.raises(ValueError, match="no pairs"):
        samples_from_manifest(tmp_path)


def render(rows: Sequence[PairRow], made_now: int, seconds: float) -> str:
    printed = StringIO()
    Console(width=200, file=printed).print(summary_table(rows, made_now, seconds))
    return printed.getvalue()


def make_rows(reasons: Mapping[str, int]) -> list[PairRow]:
    rows = [make_row(place, place, STYLES[place % 3 // 2]) for place in range(9)]
    skipped = [reason for reason, count in reasons.items() for _ in range(count)]
    return rows + [make_row(9 + i, 9 + i, STYLES[0], "rejected", reason) for i, reason in enumerate(skipped)]


def test_summary_says_what_was_done() -> None:
    rows = [
        *make_rows({"no face": 2, "[red] empty file": 1}),
        make_row(30, 30, STYLES[0], "failed", "disk full"),
    ]
    lines = [" ".join(line.split()) for line in render(rows, 4, 2.0).splitlines()]
    assert lines == [
        "Pairs 4 made now (2.0 a second), 9 in all",
        "Styles 6 Natural makeup",
        "3 Glamorous makeup",
        "Rejected 2 pictures no face",
        "1 picture [red] empty file",
        "Failed 1 picture disk full",
    ]


def test_summary_of_a_finished_run_started_again() -> None:
    text = render(make_rows({}), 0, 0.0)
    assert "0 made now, 9 in all" in text
    assert "Rejected" not in text


def test_summary_of_a_run_without_pairs() -> None:
    text = render([make_row(0, 0, STYLES[0], "rejected", "no face")], 0, 1.0)
    assert "no face" in text


def test_summary_keeps_rare_reasons_short() -> None:
    text = render(make_rows({f"reason {index}": 1 for index in range(20)}), 1, 1.0)
    assert text.count("reason ") == 8
    assert "12 more  in the journal" in text


def test_summary_groups_reasons_and_counts_pictures_apart_from_pairs() -> None:
    rows = [
        make_row(place, place // 2, STYLES[place % 2], "rejected", f"too small: {90 + place // 2} pixels")
        for place in range(6)
    ]
    lines = [" ".join(line.split()) for line in render(rows, 0, 1.0).splitlines()]
    assert lines[1:] == ["Rejected 3 pictures, 6 pairs too small"]


def test_summary_reads_the_journal(tmp_path: Path) -> None:
    run_dir = write_run(tmp_path, [(0, STYLES[0]), (1, STYLES[1])])
    assert "2 made now (4.0 a second), 2 in all" in render(read_rows(run_dir), 2, 0.5)


# --- Jobs of a sweep ------------------------------------------------------------------------------------


def make_jobs_row(face: int, jobs: Sequence[str]) -> GridRow:
    source = make_source(face, 256)
    return GridRow(source, {job: make_target(source, STYLES[index % 5]) for index, job in enumerate(jobs)})


def test_jobs_are_columns_and_faces_rows() -> None:
    rows = [make_jobs_row(face, ["0", "1"]) for face in range(2)]
    figure = comparison({"": rows}, {"0": "natural\nseed=0", "1": "natural\nseed=1"})
    assert count_tiles(figure) == (2, 3)
    for row in rows:
        assert all(holds(figure, tile) for tile in (row.source, *row.targets.values()))
    one_line = comparison({"": rows}, {"0": "natural", "1": "natural"})
    assert figure.shape[0] > one_line.shape[0] and figure.shape[1] == one_line.shape[1]


def test_a_pair_that_a_job_lacks_is_gray() -> None:
    row = make_jobs_row(0, ["0"])
    figure = comparison({"A": [row]}, {"1": "failed", "0": "made"})
    assert count_tiles(figure) == (1, 3)
    assert holds(figure, row.targets["0"])
    gray = (figure == 240).all(axis=2)
    assert 0.9 * 256**2 < gray.sum() <= 256**2


def test_more_than_twelve_jobs_go_on_below() -> None:
    names = [str(number) for number in range(13)]
    figure = comparison({"": [make_jobs_row(0, names)]}, {name: name for name in names})
    assert count_tiles(figure) == (2, 8)


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(ValueError, match="one face and one job"):
        comparison({"": []}, {"0": "a"})
    with pytest.raises(ValueError, match="one face and one job"):
        comparison({"": [make_jobs_row(0, ["0"])]}, {})


def test_a_picture_that_is_not_square_keeps_its_shape() -> None:
    tall = np.zeros((128, 64, 3), np.uint8)
    figure = samples_visualization([GridRow(tall, {"Natural makeup": tall})])
    black = (figure == 0).all(-1)
    tile = np.flatnonzero(black.sum(1) > 200)  # rows of the tiles
    assert black[tile].any(0).sum() * 2 == pytest.approx(2 * len(tile), abs=8)
