"""Errors of the user, each one line that says what was found, what is allowed and what to do; everything else is a bug.

The library names the option at fault as its owner calls it (``checkpoint``); the configuration adds where that option
stands (``model.checkpoint``), see :func:`keys_of`.
"""

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

_OTHER_FOLDER = "give a paths.outputs that can be written to"
_FREE_SPACE = "make room and start again: run_name=latest goes on with what an amplification or a training has finished"

STORAGE_REMEDIES = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EROFS: _OTHER_FOLDER,
    errno.EACCES: "allow it, or give another path",
    errno.EPERM: "allow it, or give another path",
    errno.ENOTDIR: _OTHER_FOLDER,
    errno.EEXIST: _OTHER_FOLDER,  # a link to a path that does not exist, as of a disk that is not mounted
    errno.ENAMETOOLONG: _OTHER_FOLDER,
}
"""What the user can do about an error of the file system, by its number."""


class UserError(Exception):
    """An error of the user: one line that says what was found, what is allowed and what to do."""


class OptionError(UserError):
    """An option that cannot be used as it is given.

    Attributes:
        option: its name, as its owner calls it: ``checkpoint``.
        reason: what is wrong, what is allowed and what to do, in one line.
        value: what was given; None where the line need not repeat it.
    """

    def __init__(self, option: str, reason: str, value: object = None) -> None:
        super().__init__(option, reason, value)
        self.option, self.reason, self.value = option, reason, value

    def __str__(self) -> str:
        given = self.option if self.value is None else f"{self.option}={self.value}"
        return f"{given}: {self.reason}"


@contextmanager
def keys_of(group: str, **renamed: str) -> Iterator[None]:
    """Name the options at fault in a ``with`` block by their keys: ``checkpoint`` is ``model.checkpoint`` there.

    Args:
        group: where the options stand: "model", "dataset"; "" for the root.
        renamed: options that have another name in that group: ``checkpoint="init"``.

    Raises:
        OptionError: the one of the block, with the whole key.
    """
    try:
        yield
    except OptionError as error:
        name = renamed.get(error.option, error.option)
        raise OptionError(f"{group}.{name}" if group else name, error.reason, error.value) from error


class SourceError(Exception):
    """A source that gives no pair.

    Attributes:
        status: "rejected" (the picture cannot be used) or "failed" (another try may succeed).
        stage: where it ended: "decode", "detect", "align", "parse" or "model".
        reason: why, in one short line. What stands before a colon names the kind of reason.
    """

    def __init__(self, status: str, stage: str, reason: str) -> None:
        super().__init__(status, stage, reason)
        self.status, self.stage, self.reason = status, stage, reason

    def __str__(self) -> str:
        return f"{self.stage}: {self.reason}"


def describe_error(error: BaseException) -> str | None:
    """Describe an error of the user, of the file system or of memory in one line; None for a bug."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError) and error.errno in STORAGE_REMEDIES:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; {STORAGE_REMEDIES[error.errno]}"
    if type(error).__name__ == "SafetensorError" and (found := re.search(r"\(os error (\d+)\)", str(error))):
        return describe_error(OSError(int(found[1]), os.strerror(int(found[1]))))
    # By name: torch takes seconds to import.
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and ("DefaultCPUAllocator" in str(error) or type(error).__name__ == "OutOfMemoryError")
    ):
        return "this machine has not the memory for it; give a smaller batch_size (of a training: train.batch_size)"
    return None


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its class where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
