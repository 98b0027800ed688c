"""The pairs of a run as a W&B artifact: what it is called."""

import hashlib
import re
from pathlib import Path


def dataset_name(run_name: str, folder: Path) -> str:
    """Name of the artifact of a run's pairs, `pairs-RUN`, and of a job of a multirun, `pairs-RUN-JOB`.

    W&B takes 128 of a few letters: what it does not take is replaced, and a hash tells such names apart.

    Args:
        run_name: the W&B group.
        folder: the job's own folder.
    """
    name = f"pairs-{run_name}" if folder.name == run_name else f"pairs-{run_name}-{folder.name}"
    allowed = re.sub(r"[^A-Za-z0-9_.-]", "-", name)[:128]
    return name if name == allowed else f"{allowed[:119]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def dataset_version(name: str, manifest: Path) -> str:
    """Return the name of the version of a `dataset_name` that has this manifest."""
    return f"{name}:{fingerprint(manifest)[:12]}"


def fingerprint(manifest: Path) -> str:
    """Return 64 hex digits of a manifest's content."""
    return hashlib.sha256(manifest.read_bytes()).hexdigest()
