"""Network timeouts."""

import contextlib
import socket
from collections.abc import Iterator

DEFAULT_TIMEOUT_S = 10.0
"""Time without an answer after which a download is given up."""


@contextlib.contextmanager
def socket_timeout(seconds: float = DEFAULT_TIMEOUT_S) -> Iterator[None]:
    """Set the default timeout of sockets for a ``with`` block; a library that sets its own timeout keeps it."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
