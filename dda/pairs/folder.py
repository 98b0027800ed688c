"""Folders of pairs: which files belong together in `source/` and `target/`, whoever made them."""

import hashlib
import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from dda.errors import UserError
from dda.faces.dataset import SUFFIXES
from dda.pairs.run_files import DATA_FOLDER, MANIFEST, METADATA
from dda.pairs.settings import read_settings

_LOG = logging.getLogger(__name__)

# Columns of a manifest that say which pair it is, not how it turned out.
_KEYS = ("place", "face", "attempt", "path", "style", "content_hash")

# Columns of a CSV that are not to be taken for numbers: a picture may be called 0001.png, and a style 0.
_TEXTS = dict.fromkeys(("source_file_name", "target_file_name", "path", "style", "content_hash"), pa.string())


@dataclass(frozen=True)
class PairFiles:
    """The files of one pair.

    Attributes:
        name: relative path of its pictures without suffix, with forward slashes; unique.
        source, target: None where there is no such file.
        oracle: the true target, None where there is none.
        style: empty when unknown.
        path: the picture that the source was made from, as the run's dataset calls it; empty when unknown.
        made: what was measured when the pair was composed, by measure.
        reason: why there is nothing to measure; empty when both files are there.
    """

    name: str
    source: Path | None
    target: Path | None
    oracle: Path | None = None
    style: str = ""
    path: str = ""
    made: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


def find_pairs(root: Path, oracle: Path | None = None) -> list[PairFiles]:
    """Return the pairs of `root`/source and `root`/target, matched by relative path without suffix, sorted by name.

    A picture without its counterpart is a pair with a reason. Styles and what was measured at composition come from
    `root`/metadata.csv where there is one (columns `source_file_name`, `style`, numbers).

    Args:
        root: a folder with source/ and target/.
        oracle: a folder of true targets (or with a target/ of them) that have the names of the pairs, or of the
            pictures that the sources were made from.

    Raises:
        UserError: a folder is missing or empty, the table cannot be read, no pair has a true target, or pairs in
            several styles have the same.
    """
    metadata = root / METADATA
    records = _csv_records(metadata) if metadata.is_file() else {}
    return _add_oracles(_sorted(_match_pairs(root, records)), oracle)


def find_run_pairs(run: Path, oracle: Path | None = None) -> list[PairFiles]:
    """Return the pairs of a run of run_amplify.py, or of all jobs of a multirun, whose names then begin with the job's.

    Jobs that have no manifest yet, or made no pair, are left out, and named in a warning.

    Raises:
        UserError: `run` holds no finished run, or as `find_pairs` does.
    """
    if (run / MANIFEST).is_file():
        return _check_crops(_add_oracles(_sorted(_run_pairs(run)), oracle), [run])
    jobs = [file.parent for file in sorted(run.glob(f"*/{MANIFEST}"))]
    if not jobs:
        raise UserError(
            f"run={run}: there is no {MANIFEST} in it, so it is no finished run of run_amplify.py; "
            f"finish it (the same run_name goes on with it), or give a folder with source/ and target/ as pairs=DIR"
        )
    _warn_of_unfinished(run, jobs)
    made = [job for job in jobs if pq.read_metadata(job / MANIFEST).num_rows]
    if not made:
        raise UserError(
            f"run={run}: none of its {len(jobs)} jobs made a pair; the reasons are in {run}/*/journal-*.jsonl"
        )
    if empty := [job.name for job in jobs if job not in made]:
        _LOG.warning("run=%s: jobs that made no pair are left out: %s", run, ", ".join(empty))
    pairs = [pair for job in made for pair in _sorted(_run_pairs(job, f"{job.name}/"))]
    return _check_crops(_add_oracles(pairs, oracle), made)


def choose_pairs(pairs: Sequence[PairFiles], num_samples: int | None, seed: int) -> list[PairFiles]:
    """Choose `num_samples` of the pairs with both files (None: all), and every pair without, in the given order.

    The choice depends on the seed and the names alone; a larger one includes a smaller one.
    """

    def key(pair: PairFiles) -> bytes:
        return hashlib.sha256(f"sample {seed} ".encode() + os.fsencode(pair.name)).digest()

    chosen = {pair.name for pair in sorted((pair for pair in pairs if not pair.reason), key=key)[:num_samples]}
    return [pair for pair in pairs if pair.reason or pair.name in chosen]


def _check_crops(pairs: list[PairFiles], jobs: Sequence[Path]) -> list[PairFiles]:
    """Return the pairs; warn where true targets have the names of photos of which runs took crops."""
    photos = any(pair.oracle and _drop_suffix(pair.oracle.name) != PurePosixPath(pair.name).name for pair in pairs)
    if photos and any((read_settings(job) or {}).get("dataset.align") == "ffhq" for job in jobs):
        _LOG.warning(
            "oracle: its pictures have the names of photos, of which the run took crops (dataset.align=ffhq); unless "
            "they show the same crops, what is measured against them says nothing: amplify with dataset.align=none"
        )
    return pairs


def _warn_of_unfinished(run: Path, finished: Sequence[Path]) -> None:
    begun = {file.parent for file in run.glob("*/journal-*.jsonl")}
    names = sorted(job.name for job in begun - set(finished))
    if names:
        _LOG.warning(
            "run=%s: %d of %d jobs have no %s and are left out: %s; "
            "to finish them give their multirun again, with the same run_name",
            run,
            len(names),
            len(names) + len(finished),
            MANIFEST,
            ", ".join(names),
        )


def _sorted(pairs: Iterator[PairFiles]) -> list[PairFiles]:
    return sorted(pairs, key=lambda pair: pair.name.split("/"))


def _run_pairs(run: Path, prefix: str = "") -> Iterator[PairFiles]:
    """Return the pairs of the manifest. What else is there belongs to an extension that has not come to its end."""
    records = _index_records(pq.read_table(run / MANIFEST), "name")
    return (
        pair for pair in _match_pairs(run / DATA_FOLDER, records, prefix) if pair.name.removeprefix(prefix) in records
    )


def _match_pairs(root: Path, records: Mapping[str, Mapping[str, Any]], prefix: str = "") -> Iterator[PairFiles]:
    """Yield every name that a source, a target or a record has, with its files or the reason why there is no pair."""
    sources, targets = _list_pictures(root / "source"), _list_pictures(root / "target")
    if not sources and not targets:
        raise UserError(f"no pictures in {root}/source and {root}/target: looked for {' '.join(SUFFIXES)}")
    for name in {*sources, *targets, *records}:
        found = {"source": sources.get(name, []), "target": targets.get(name, [])}
        record = records.get(name, {})
        yield PairFiles(
            name=prefix + name,
            source=found["source"][0] if found["source"] else None,
            target=found["target"][0] if found["target"] else None,
            style=str(record.get("style") or ""),
            path=str(record.get("path") or ""),
            made=record.get("made", {}),
            reason="; ".join(reason for side, files in found.items() if (reason := _explain_missing(side, files))),
        )


def _explain_missing(side: str, files: Sequence[Path]) -> str:
    if not files:
        return f"no {side} of this name"
    return f"several {side}s of this name: {', '.join(file.name for file in files)}" if len(files) > 1 else ""


def _list_pictures(folder: Path) -> dict[str, list[Path]]:
    """Return the picture files below a folder by relative path without suffix; hidden ones are passed over."""
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}: pairs lie in DIR/source and DIR/target under equal names")
    found: dict[str, list[Path]] = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in sorted(names):
            if name.lower().endswith(SUFFIXES) and not name.startswith("."):
                file = Path(parent, name)
                found.setdefault(_drop_suffix(file.relative_to(folder).as_posix()), []).append(file)
    return found


def _drop_suffix(path: str) -> str:
    """Return a relative path without its suffix; other dots belong to the name.

    Composed (NFC): a Mac may write é or 민 as several letters that look like one.
    """
    return unicodedata.normalize("NFC", str(PurePosixPath(path).with_suffix("")))


def _add_oracles(pairs: list[PairFiles], oracle: Path | None) -> list[PairFiles]:
    if oracle is None:
        return pairs
    truths = _list_pictures(oracle / "target" if (oracle / "target").is_dir() else oracle)
    matched = [_add_oracle(pair, truths) for pair in pairs]
    if not any(pair.oracle for pair in matched):
        raise UserError(
            f"oracle={oracle}: none of its {len(truths)} pictures has the name of a pair, such as {pairs[0].name}"
        )
    styles: dict[Path, set[str]] = {}
    for pair in matched:
        if pair.oracle:
            styles.setdefault(pair.oracle, set()).add(pair.style)
    if shared := [file.name for file, worn in styles.items() if len(worn) > 1]:
        raise UserError(
            f"oracle={oracle}: {shared[0]} has the name of a picture that was made up in several styles, and is the "
            "truth of one; give truths the names of pairs (image_0000.png), or measure a run of that style"
        )
    return matched


def _add_oracle(pair: PairFiles, truths: Mapping[str, list[Path]]) -> PairFiles:
    names = dict.fromkeys([pair.name, _drop_suffix(pair.path)] if pair.path else [pair.name])
    files = [file for name in names for file in truths.get(name, [])]  # of the pair's name and of its picture's
    reasons = [
        reason for reason in (pair.reason, _explain_missing("oracle", files) if len(files) > 1 else "") if reason
    ]
    return replace(pair, oracle=files[0] if files else None, reason="; ".join(reasons))


def _csv_records(file: Path) -> dict[str, dict[str, Any]]:
    try:
        table = pyarrow.csv.read_csv(file, convert_options=pyarrow.csv.ConvertOptions(column_types=_TEXTS))
        columns = Counter(table.column_names)
    except UnicodeDecodeError as error:  # of a header alone
        raise UserError(f"{file}: is not in UTF-8; save it so") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{file}: cannot be read as a table: {str(error).splitlines()[0]}") from error
    if twice := [name for name, count in columns.items() if count > 1]:
        raise UserError(f"{file}: has the column {twice[0]} more than once; keep one")
    if "source_file_name" not in table.column_names:
        raise UserError(
            f"{file}: has no column source_file_name, only {', '.join(table.column_names)}; add it or move the file"
        )
    for line, name in enumerate(table.column("source_file_name").to_pylist(), start=2):
        if str(name or "").strip("/") in ("", ".", "source"):
            raise UserError(f"{file}: row {line} has no source_file_name; give it, or take the row out")
    return _index_records(table, "source_file_name")


def _index_records(table: pa.Table, key: str) -> dict[str, dict[str, Any]]:
    """Return the rows of a manifest or a metadata.csv by the name of their pair; what was measured under "made"."""
    measures = [
        column.name
        for column in table.schema
        if (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)) and column.name not in _KEYS
    ]
    records = {}
    for row in table.to_pylist():
        made = {measure: float(row[measure]) for measure in measures if row[measure] is not None}
        path = PurePosixPath(str(row[key]))
        name = path.relative_to("source") if path.parts[:1] == ("source",) else path
        records[_drop_suffix(str(name))] = {"style": row.get("style"), "path": row.get("path"), "made": made}
    return records
