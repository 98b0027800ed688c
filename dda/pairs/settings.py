"""Settings of a run: everything that decided its output, kept beside it so that a resume cannot mix two kinds."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from dda.errors import OptionError, UserError
from dda.files import write_atomically
from dda.pairs.run_files import SETTINGS, SWEEP_RECORD

MAX_SHOWN_CHARACTERS = 60
"""Length beyond which a value is cut in a message."""


def store_or_check_settings(run_dir: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings of a new run, or check those of an existing one (:func:`check_settings`)."""
    check_settings(run_dir, settings)
    file = run_dir / SETTINGS
    if file.exists():
        return
    run_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(run_dir / ".settings.lock"):  # the shards of a new run may start at once
        if not file.exists():
            write_atomically(file, _to_json(settings).encode())
    check_settings(run_dir, settings)


def check_settings(run_dir: Path, settings: Mapping[str, Any]) -> None:
    """Check that a run, where it exists, has these settings. Nothing is written.

    Args:
        run_dir: its folder, which need not exist.
        settings: JSON values by key.

    Raises:
        OptionError: the run has other settings, or the folder is that of a sweep, or of a single run around this job.
        UserError: its file is damaged.
    """
    if (run_dir / SWEEP_RECORD).exists():
        raise OptionError("run_name", "is a sweep; go on with it by -m, or give another run_name", run_dir.name)
    if (run_dir.parent / SETTINGS).exists():
        raise OptionError("run_name", "is a single run; give the sweep another run_name", run_dir.parent.name)
    if (stored := read_settings(run_dir)) is None:
        return
    for key, before, now in _find_differences(stored, _flatten(json.loads(_to_json(settings)))):
        raise OptionError(
            key,
            f"is {_shorten(now)} now, but {run_dir} was begun with {_shorten(before)}; "
            "give the same value, or another run_name",
        )


def read_settings(run_dir: Path) -> dict[str, Any] | None:
    """Return the settings of a run by their dotted keys; None where it has none yet.

    Raises:
        UserError: its file is damaged.
    """
    file = run_dir / SETTINGS
    if not file.exists():
        return None
    try:
        return _flatten(json.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise UserError(f"{file}: is damaged ({error}); give another run_name") from error


def _to_json(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, indent=2, ensure_ascii=False)


def _flatten(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their dotted keys."""
    if not isinstance(settings, dict) or not settings:
        return {prefix: settings}
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flatten(value, f"{prefix}.{key}" if prefix else key)
    return flat


def _find_differences(stored: Mapping[str, Any], given: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield the keys whose values differ between two settings, with both values; a missing key is None."""
    for key in sorted(stored.keys() | given.keys()):
        if stored.get(key) != given.get(key):
            yield key, stored.get(key), given.get(key)


def _shorten(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[: MAX_SHOWN_CHARACTERS - 3]}..."
