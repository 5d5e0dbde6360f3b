"""A server of a small model in a thread of the tests, and requests to it, well formed or not."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

from fgcme.recognition import Recogniser
from fgcme.server.limits import Limits
from fgcme.serving.classifier import Classifier
from pipelines.serve import make_server


@dataclass(frozen=True)
class Reply:
    """What a server answered.

    Attributes:
        status: of HTTP.
        headers: by their names in small letters.
        body: as it came.
    """

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


@contextmanager
def served(classifier: Classifier, limits: Limits | None = None, recogniser: Recogniser | None = None) -> Iterator[int]:
    """Serve a classifier until the block ends; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = make_server(classifier, "small", limits or Limits(), recogniser)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.01)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(30)


def question(recording: Path | bytes | None, text: str | None) -> bytes:
    """The body of a question."""
    sound = recording.read_bytes() if isinstance(recording, Path) else recording
    asked = {"audio": None if sound is None else base64.b64encode(sound).decode(), "text": text}
    return json.dumps({name: value for name, value in asked.items() if value is not None}).encode()


def request(
    port: int, body: bytes | None = None, path: str = "/predict", method: str = "POST", **headers: str
) -> Reply:
    """Send a request; names of headers have `_` for `-`."""
    named = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, named)
        return _reply(connection.getresponse())
    finally:
        connection.close()


def get(port: int, path: str) -> Reply:
    """Ask for an address."""
    return request(port, None, path, "GET")


def exchange(port: int, *pieces: bytes, pause: float = 0.0) -> Reply:
    """Send bytes as they are, with a pause between the pieces."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                # It is refused already.
                break
            time.sleep(pause)
        response = HTTPResponse(connection)
        response.begin()
        return _reply(response)


def _reply(response: HTTPResponse) -> Reply:
    return Reply(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
