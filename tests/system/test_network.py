import socket
import urllib.error
import urllib.request

import pytest

from dda.system.network import socket_timeout


def test_a_server_that_stays_silent_is_given_up_and_the_limit_goes_with_the_block() -> None:
    before = socket.getdefaulttimeout()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises((TimeoutError, urllib.error.URLError)), socket_timeout(0.2):
            urllib.request.urlopen(url)
    assert socket.getdefaulttimeout() == before
