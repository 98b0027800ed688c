"""What makes the pixels of a run: kept beside its pairs, so that a resume cannot mix two kinds."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from dda.config.run_folder import SWEEP_RECORD
from dda.errors import UserError
from dda.files import write_atomically

SETTINGS = "settings.json"


def store_or_check_settings(run_dir: Path, settings: Mapping[str, Any]) -> None:
    """Write the settings of a new run, or check those of a begun one (:func:`check_settings`)."""
    check_settings(run_dir, settings)
    file = run_dir / SETTINGS
    if file.exists():
        return
    run_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(run_dir / ".settings.lock"):  # the shards of a new run may start at once
        if not file.exists():
            write_atomically(file, _json(settings).encode())
    check_settings(run_dir, settings)


def check_settings(run_dir: Path, settings: Mapping[str, Any]) -> None:
    """Check that a run, where it was begun, was begun with these settings. Nothing is written.

    Args:
        run_dir: its folder, which need not exist.
        settings: JSON values by configuration key.

    Raises:
        UserError: the run was begun with other settings, or its file is damaged, or it is a sweep (its jobs would be
            hidden by the run) or a sweep's job in the folder of a run.
    """
    if (run_dir / SWEEP_RECORD).exists():
        raise UserError(f"run_name={run_dir.name}: is a sweep; go on with it by -m, or give another run_name")
    if (run_dir.parent / SETTINGS).exists():
        raise UserError(f"run_name={run_dir.parent.name}: is a single run; give the sweep another run_name")
    file = run_dir / SETTINGS
    if not file.exists():
        return
    try:
        begun = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file}: is damaged ({error}); give another run_name") from error
    for key, was, now in _differences("", begun, json.loads(_json(settings))):
        raise UserError(
            f"{key}: is {_short(now)} now, but {run_dir} was begun with {_short(was)}; "
            "give the same value, or another run_name"
        )


def _json(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, indent=2, ensure_ascii=False)


def _differences(key: str, begun: Any, wanted: Any) -> Iterator[tuple[str, Any, Any]]:
    """The keys at which two settings differ, as far inside as both go on, with their two values."""
    if isinstance(begun, dict) and isinstance(wanted, dict):
        for part in sorted(begun.keys() | wanted.keys()):
            yield from _differences(f"{key}.{part}" if key else part, begun.get(part), wanted.get(part))
    elif begun != wanted:
        yield key, begun, wanted


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
