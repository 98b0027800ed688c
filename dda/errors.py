"""Mistakes of the user's, each told in one line that says what was found and what is allowed."""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

_ELSEWHERE = "give a paths.outputs that can be written to"
_ROOM = "make room and start again: run_name=latest goes on with what an amplification or a training has finished"

CLOSED = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EROFS: _ELSEWHERE,
    errno.EACCES: "allow it, or give another path",
    errno.EPERM: "allow it, or give another path",
    errno.ENOTDIR: _ELSEWHERE,
    errno.EEXIST: _ELSEWHERE,  # a link to nowhere, as of a disk that is not there
    errno.ENAMETOOLONG: _ELSEWHERE,
}
"""What to do where the system closes the way to files."""


class UserError(Exception):
    """A mistake of the user's: one line that says what was found, what is allowed and what to do."""


def describe_error(error: BaseException) -> str | None:
    """A mistake of the user's in one line; None where `error` is not one."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in CLOSED:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; {CLOSED[error.errno]}"
    if type(error).__name__ == "SafetensorError" and (found := re.search(r"\(os error (\d+)\)", str(error))):
        return describe_error(OSError(int(found[1]), os.strerror(int(found[1]))))
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and ("DefaultCPUAllocator" in str(error) or type(error).__name__ == "OutOfMemoryError")  # torch's, not imported
    ):
        return "this machine has not the memory for it; give a smaller batch_size (of a training: train.batch_size)"
    return None


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """What ends a command that Hydra does not run, if it is a mistake of the user's, ends it with one line.

    Raises:
        SystemExit: with the line.
    """
    try:
        yield
    except Exception as error:
        if line := describe_error(error):
            raise SystemExit(f"dda: {line}") from error
        raise


def first_line(error: Exception) -> str:
    """What an error says, in one line; its class where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
