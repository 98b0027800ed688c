"""Local servers in the place of W&B's: one that answers, one that has gone wrong, one that says nothing."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any

API_KEY = "0123456789abcdef" * 2 + "01234567"


class Refusing(BaseHTTPRequestHandler):
    """A server that has gone wrong."""

    def do_POST(self) -> None:
        self.send_error(500)

    do_GET = do_POST

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class Hanging(Refusing):
    """A server that says nothing until it is taken away."""

    def do_POST(self) -> None:
        self.server.over.wait()  # type: ignore[attr-defined]

    do_GET = do_POST


class Answering(Refusing):
    """As much of W&B's server as it takes to open a run."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        call = json.loads(body) if self.path == "/graphql" else {}
        if call.get("operationName") == "UpsertBucket":
            asked = call["variables"]
            project = {"id": "p", "name": asked["project"], "entity": {"id": "e", "name": "somebody"}}
            bucket = {"id": "b", "name": asked["name"], "project": project, "historyLineCount": 0}
            answer: dict[str, Any] = {"data": {"upsertBucket": {"bucket": bucket, "inserted": True}}}
        else:
            answer = {"data": {"serverInfo": {"features": []}}}
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)


class _Server(ThreadingHTTPServer):
    def __init__(self, handler: type[Refusing]) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        self.over = Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: W&B hangs up on a server that does not answer."""


@contextmanager
def serve(handler: type[Refusing]) -> Iterator[tuple[str, Callable[[], None]]]:
    """The address of a server, and a function that takes it away before the ``with`` block ends."""
    server = _Server(handler)
    thread = Thread(target=server.serve_forever)
    thread.start()

    def stop() -> None:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()

    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", stop
    finally:
        stop()
