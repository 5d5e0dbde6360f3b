"""MLflow signs its requests to a server whose address has a password, and never shows that."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from mlflow.exceptions import MlflowException

from fgcme.tracking.credentials import without_credentials
from fgcme.tracking.store import mlflow_client


class Listener(HTTPServer):
    """Knows the path and the signature of each request, and answers that there is no such thing."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Refusal)
        self.requests: list[tuple[str, str | None]] = []

    @property
    def place(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server_port}"


class Refusal(BaseHTTPRequestHandler):
    """Answers any request."""

    server: Listener

    def do_GET(self) -> None:
        self.server.requests.append((self.path.partition("?")[0], self.headers.get("Authorization")))
        self.send_error(404)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    # Restored behind the test, whatever is set meanwhile.
    monkeypatch.setenv("MLFLOW_TRACKING_AUTH", "")
    with Listener() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def ask(address: str) -> str:
    """Ask a server for a run; returns the refusal."""
    with pytest.raises(MlflowException) as refusal:
        mlflow_client(address).get_run("0" * 32)
    return str(refusal.value)


def test_requests_below_the_address_are_signed_and_no_others(listener: Listener) -> None:
    refusal = ask(f"http://me:pass%2Fw%40rd@{listener.place}/mlflow")
    assert "pass" not in refusal
    [(path, signature)] = listener.requests
    assert path == "/mlflow/api/2.0/mlflow/runs/get"
    assert signature == f"Basic {base64.b64encode(b'me:pass/w@rd').decode()}"
    ask(f"http://{listener.place}/elsewhere")
    ask(f"http://{listener.place}/mlflow2")
    assert [signature for _, signature in listener.requests[1:]] == [None, None]


@pytest.mark.parametrize("address", ["http://host:5000", "postgresql://me:secret@host/runs", "sqlite:///mlflow.db"])
def test_other_addresses_stay_as_they_are(address: str) -> None:
    assert without_credentials(address) == address
