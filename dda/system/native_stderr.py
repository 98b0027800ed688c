"""Standard error of native code, which writes to file descriptor 2 and not to ``sys.stderr``."""

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STDERR = 2

_lock = threading.Lock()


@contextmanager
def drop_stderr_line(line: str) -> Iterator[None]:
    """Drop one line from what reaches standard error in a ``with`` block; everything else is printed at its end.

    For a native library that offers no log level. The file descriptor belongs to the whole process, so one thread at a
    time holds it; keep the block short.
    """
    with _lock, tempfile.TemporaryFile() as buffer:
        original = os.dup(STDERR)
        os.dup2(buffer.fileno(), STDERR)
        try:
            yield
        finally:
            os.dup2(original, STDERR)
            buffer.seek(0)
            kept = [text for text in buffer.read().splitlines(keepends=True) if text.strip() != line.encode()]
            os.write(original, b"".join(kept))
            os.close(original)
