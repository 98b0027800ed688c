"""The manifest: a table of the finished pairs, made anew from the journals."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import BaseFileLock, FileLock

from dda.files import write_atomically
from dda.pairs.journal import PairRow, find_journals, read_journal
from dda.pairs.run_files import DATA_FOLDER, MANIFEST, METADATA


def read_rows(run_dir: Path) -> list[PairRow]:
    """Return the latest row of each (place, face) in all journals of a run, sorted by them.

    Raises:
        UserError: a journal is damaged, or the journals belong to runs of different shard counts.
    """
    journals, _ = find_journals(run_dir)
    rows = {key: row for file in journals.values() for key, row in read_journal(file).rows.items()}
    return [row for _, row in sorted(rows.items())]


def lock_tables(run_dir: Path) -> BaseFileLock:
    """Lock the files of the whole run while they are written: two shards may finish at once."""
    return FileLock(run_dir / ".manifest.lock")


def write_manifest(run_dir: Path) -> pa.Table:
    """Write what the journals of a run say about its finished pairs, and return the table.

    - manifest.parquet: one row a pair, sorted by place and face, with the measures as columns;
    - amplified_data/metadata.csv: the same for `load_dataset("imagefolder", data_dir=".../amplified_data")`.

    Nothing in them depends on the time, the shards or the order in which the pairs were made.
    """
    with lock_tables(run_dir):
        table = _make_table([row for row in read_rows(run_dir) if row.status == "ok"])
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        (run_dir / DATA_FOLDER).mkdir(exist_ok=True)
        write_atomically(run_dir / DATA_FOLDER / METADATA, _make_metadata_csv(table))
        write_atomically(run_dir / MANIFEST, buffer.getvalue())
    return table


def _make_table(rows: list[PairRow]) -> pa.Table:
    columns = {
        "place": pa.array([row.place for row in rows], pa.int64()),
        "face": pa.array([row.face for row in rows], pa.int64()),
        "path": _make_strings(row.path for row in rows),
        "style": _make_strings(row.style for row in rows),
        "name": _make_strings(row.name for row in rows),
        "source": _make_strings(f"{DATA_FOLDER}/source/{row.name}" for row in rows),
        "target": _make_strings(f"{DATA_FOLDER}/target/{row.name}" for row in rows),
        "content_hash": _make_strings(row.content_hash for row in rows),
        "attempt": pa.array([row.attempt for row in rows], pa.int64()),
    }
    for measure in sorted({measure for row in rows for measure in row.measures}):
        columns[measure] = pa.array([row.measures.get(measure) for row in rows], pa.float64())
    return pa.table(columns)


def _make_strings(values: Iterable[str]) -> pa.Array:
    # Arrow takes valid UTF-8 alone; a file name that is not shows its odd bytes as \udcNN.
    return pa.array([value.encode("utf-8", "backslashreplace").decode() for value in values], pa.string())


def _make_metadata_csv(table: pa.Table) -> bytes:
    """Return the table as CSV. Of an image folder, `*_file_name` columns become images; paths start at the CSV."""
    others = table.drop_columns(["source", "target", "name"])
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["source_file_name", "target_file_name", *others.column_names])
    for name, row in zip(table.column("name").to_pylist(), others.to_pylist(), strict=True):
        writer.writerow([f"source/{name}", f"target/{name}", *row.values()])
    return text.getvalue().encode()
