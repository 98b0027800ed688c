"""The Hugging Face hub: files of a repository, from the local cache or by download."""

from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError

HUB_TIMEOUT_S = 5.0
"""Time limit of the first request to the hub, so that a machine without a network fails soon."""


def find_cached_repository(hub_id: str, files: Sequence[str]) -> Path | None:
    """Return the folder of a repository in the local cache, which may lack files; None if it is not there.

    Args:
        hub_id: owner/name.
        files: names or patterns of the files to look for.

    Raises:
        HFValidationError: ``hub_id`` is not of the form owner/name.
    """
    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(files), local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def download_repository(hub_id: str, files: Sequence[str]) -> Path:
    """Download the files of a repository that match and are not in the local cache; return its folder there.

    Args:
        hub_id: owner/name.
        files: names or patterns of files; those that the repository lacks are left out.

    Raises:
        Exception: the hub cannot be reached, or has no such repository. The class depends on the version of the client.
    """
    HfApi().model_info(hub_id, timeout=HUB_TIMEOUT_S)  # a single request: snapshot_download retries for minutes
    return Path(snapshot_download(hub_id, allow_patterns=list(files)))
