"""Patience with the network: how long a download may stay silent."""

import contextlib
import socket
from collections.abc import Iterator

SECONDS = 10.0
"""Without an answer for so long, a download is given up."""


@contextlib.contextmanager
def socket_timeout(seconds: float = SECONDS) -> Iterator[None]:
    """Give up connections that stay silent for ``seconds``; those that set a limit of their own keep it."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
