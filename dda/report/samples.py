"""What a person looks at when a run ends: a figure of sample pairs and a table of what was done."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from dda.files import write_atomically
from dda.images import read_image, resize
from dda.pairs.manifest import lock_tables
from dda.pairs.run_files import DATA_FOLDER, MANIFEST
from dda.pairs.writer import pair_exists
from dda.png import encode_png
from dda.report.fonts import find_font

SAMPLES_NAME = "samples_visualization.png"

_TILE = 256
_TILES = 36  # more tiles than this are drawn smaller, so that the file stays below 4 MB
_COLUMNS = 8  # styles that fit side by side
_JOBS = 12  # jobs of a sweep that fit side by side
_FACES = 6  # faces, or pairs of a single style, in the figure of a run
_EXAMPLES = 3  # pairs side by side where a style is a row
_PAPER, _BLANK, _INK = (255, 255, 255), (240, 240, 240), (34, 34, 34)


@dataclass(frozen=True)
class GridRow:
    """One face of the figure: its source and its targets by style, uint8 (H, W, 3)."""

    source: np.ndarray
    targets: Mapping[str, np.ndarray]


def samples_visualization(rows: Sequence[GridRow]) -> np.ndarray:
    """Draw sample pairs as one figure, uint8 (H, W, 3).

    Where all faces have the same two to eight styles, a face is a row: its source, then a column for each
    style. Otherwise a style is a row of (source, target) pairs.

    Raises:
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError("samples_visualization: rows is empty, at least one face is needed")
    styles = list(dict.fromkeys(style for row in rows for style in row.targets))
    if 1 < len(styles) <= _COLUMNS and all(len(row.targets) == len(styles) for row in rows):
        return _draw_faces(rows, styles)
    return _draw_styles(rows, styles)


def samples_from_manifest(run_dir: Path) -> np.ndarray:
    """Draw the figure of a run from its manifest and write it to amplified_data/samples_visualization.png.

    The same pairs give the same bytes. Where faces have all styles, the first six of them are shown; otherwise three
    pairs of each style, or six of a single style. Pairs whose pictures somebody deleted are passed over.

    Raises:
        ValueError: the manifest has no pairs.
    """
    columns = ["path", "face", "style", "name", "source", "target"]
    with lock_tables(run_dir):
        listed = pq.read_table(run_dir / MANIFEST, columns=columns).to_pylist()
        records = [pair for pair in listed if pair_exists(run_dir, pair["name"])]
        if not records:
            raise ValueError(f"{run_dir / MANIFEST} has no pairs: there is nothing to show")
        figure = samples_from_records(run_dir, records)
        write_atomically(run_dir / DATA_FOLDER / SAMPLES_NAME, encode_png(figure))
    return figure


def samples_from_records(root: Path, records: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Draw the figure of pairs given as records, chosen as `samples_from_manifest` does.

    Args:
        root: the folder that the files are in.
        records: one a pair: `path` and `face` (the same for pairs of one source), `style`, and the files `source`
            and `target`, relative to `root` or absolute.
    """
    return samples_visualization([_read_row(root, pairs) for pairs in _choose_pairs(records)])


def comparison(blocks: Mapping[str, Sequence[GridRow]], headers: Mapping[str, str]) -> np.ndarray:
    """Draw what several jobs made of the same faces as one figure, uint8 (H, W, 3).

    A face is a row: its source, then a column for each job, gray where the job has no such pair. More than twelve
    jobs go on below, in bands of equal width.

    Args:
        blocks: rows by the label they share on their left, which may be empty. `GridRow.targets` is by job.
        headers: by job, in order: what to write above its column, one or more lines.

    Raises:
        ValueError: there are no rows, or no jobs.
    """
    if not headers or not any(blocks.values()):
        raise ValueError("comparison: at least one face and one job are needed")
    bands = -(-len(headers) // _JOBS)
    width = -(-len(headers) // bands)
    jobs = list(headers)
    figures = [_draw_jobs(blocks, headers, jobs[start : start + width], width) for start in range(0, len(jobs), width)]
    return np.concatenate(figures)


def _choose_pairs(records: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Choose the pairs to show, grouped by source: whole faces if there are enough of them, else single pairs."""
    by_face: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    by_style: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        by_face.setdefault((record["path"], record["face"]), []).append(record)
        by_style.setdefault(record["style"], []).append(record)
    whole = [pairs for pairs in by_face.values() if len(pairs) == len(by_style)]
    if 1 < len(by_style) <= _COLUMNS and len(whole) >= min(_EXAMPLES, len(by_face)):
        return whole[:_FACES]
    examples = max(_EXAMPLES, _FACES // len(by_style))
    seen: Counter[str] = Counter()
    chosen = []
    for pairs in by_style.values():
        fresh_first = sorted(pairs, key=lambda pair: seen[pair["path"]])[:examples]
        seen.update(pair["path"] for pair in fresh_first)
        chosen += [[pair] for pair in fresh_first]
    return chosen


def _read_row(run_dir: Path, pairs: Sequence[Mapping[str, Any]]) -> GridRow:
    targets = {pair["style"]: read_image(run_dir / pair["target"]) for pair in pairs}
    return GridRow(read_image(run_dir / pairs[0]["source"]), targets)


def _draw_faces(rows: Sequence[GridRow], styles: Sequence[str]) -> np.ndarray:
    lines = [[row.source, *(row.targets[style] for style in styles)] for row in rows]
    return _draw_grid([_Block("", lines)], ["Source", *styles], wide_after={0})


def _draw_styles(rows: Sequence[GridRow], styles: Sequence[str]) -> np.ndarray:
    blocks = []
    for style in styles:
        pairs = [(row.source, row.targets[style]) for row in rows if style in row.targets]
        tiles = [image for pair in pairs for image in pair]
        starts = range(0, len(tiles), 2 * _EXAMPLES)
        blocks.append(_Block(style, [tiles[start : start + 2 * _EXAMPLES] for start in starts]))
    columns = max(len(line) for block in blocks for line in block.lines)
    return _draw_grid(blocks, ["Source", "Target"] * (columns // 2), wide_after=set(range(1, columns, 2)))


def _draw_jobs(
    blocks: Mapping[str, Sequence[GridRow]], headers: Mapping[str, str], jobs: Sequence[str], width: int
) -> np.ndarray:
    """Draw one band of `comparison`: some of its jobs, with room for `width`."""
    blank = np.array(_draw_text("no pair", _TILE // 12, (_TILE, _TILE), _BLANK))
    grid = [
        _Block(label, [[row.source, *(row.targets.get(job, blank) for job in jobs)] for row in rows])
        for label, rows in blocks.items()
    ]
    # Empty columns keep the last band's tiles as large, and the band as wide, as the others.
    padding = [""] * (width - len(jobs))
    return _draw_grid(grid, ["Source", *(headers[job] for job in jobs), *padding], wide_after={0})


@dataclass(frozen=True)
class _Block:
    """Lines of tiles that share a label on their left."""

    label: str
    lines: list[list[np.ndarray]]


def _draw_grid(blocks: Sequence[_Block], headers: Sequence[str], wide_after: set[int]) -> np.ndarray:
    """Lay out blocks of tiles below column headers, with a wide gutter after some columns and every block.

    The lines of a header stand on the tiles.
    """
    heights = [len(block.lines) for block in blocks]
    tile = round(_TILE * min(1, sqrt(_TILES / (sum(heights) * len(headers)))))
    gap, wide, margin = tile // 42, tile // 12, tile // 10
    labels = [block.label for block in blocks]
    texts = [header.split("\n") for header in headers]
    size = min(_fit_font_size([*chain(*texts)], tile, tile // 10), _fit_font_size(labels, tile, tile // 10))
    band = size * 3 // 2  # what a line of text takes of the figure
    head = band * max(map(len, texts))

    columns = _compute_offsets([wide if column in wide_after else gap for column in range(len(headers))], tile)
    left = margin + band * any(labels)
    top = margin + head
    lines = _compute_offsets([wide if line == n - 1 else gap for n in heights for line in range(n)], tile)
    figure = Image.new("RGB", (left + columns[-1] + tile + margin, top + lines[-1] + tile + margin), _PAPER)

    for column, text in zip(columns, texts, strict=True):
        for place, line in enumerate(text, start=-len(text)):
            figure.paste(_draw_text(line, size, (tile, band)), (left + column, margin // 2 + head + place * band))
    first = 0
    for block, height in zip(blocks, heights, strict=True):
        ys = [top + y for y in lines[first : first + height]]
        if block.label:
            label = _draw_text(block.label, size, (ys[-1] + tile - ys[0], band))
            figure.paste(label.transpose(Image.Transpose.ROTATE_90), (margin // 2, ys[0]))
        for y, tiles in zip(ys, block.lines, strict=True):
            for x, image in zip(columns, tiles, strict=False):
                figure.paste(_fit_picture(image, tile), (left + x, y))
        first += height
    return np.array(figure)


def _fit_picture(image: np.ndarray, tile: int) -> Image.Image:
    """Place a picture in the middle of a square tile, which its longer side fills."""
    height, width = image.shape[:2]
    scale = tile / max(height, width)
    small = Image.fromarray(resize(image, (max(1, round(height * scale)), max(1, round(width * scale)))))
    square = Image.new("RGB", (tile, tile), _PAPER)
    square.paste(small, ((tile - small.width) // 2, (tile - small.height) // 2))
    return square


def _compute_offsets(gutters: Sequence[int], tile: int) -> list[int]:
    """Return where each tile of a line begins, given the gutter after each."""
    return [sum(gutters[:index]) + index * tile for index in range(len(gutters))]


def _draw_text(text: str, size: int, box: tuple[int, int], paper: tuple[int, int, int] = _PAPER) -> Image.Image:
    """Draw one line of text in the middle of a box, cut with an ellipsis where it is too long for it."""
    font = find_font(text, size)
    if font.getlength(text) > box[0]:
        while text and font.getlength(text + "…") > box[0]:
            text = text[:-1]
        text += "…"
    drawn = Image.new("RGB", box, paper)
    ImageDraw.Draw(drawn).text((box[0] / 2, box[1] / 2), text, _INK, font, anchor="mm")
    return drawn


def _fit_font_size(texts: Sequence[str], width: int, largest: int) -> int:
    """Return the largest font size, down to 60 % of `largest`, at which every text fits the width."""
    longest = max(find_font(text, largest).getlength(text) for text in texts)
    return max(largest * 3 // 5, min(largest, int(largest * width / max(longest, 1))))
