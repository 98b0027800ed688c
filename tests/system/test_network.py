import socket
import urllib.error
import urllib.request

import pytest

from dda.system.network import socket_timeout


def test_a_silent_server_times_out_and_the_default_is_restored_after_the_block() -> None:
    before = socket.getdefaulttimeout()
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        with pytest.raises((TimeoutError, urllib.error.URLError)), socket_timeout(0.2):
            urllib.request.urlopen(url)
    assert socket.getdefaulttimeout() == before
