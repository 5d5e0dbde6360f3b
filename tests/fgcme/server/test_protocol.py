"""A request has to arrive in time and whole, and connections have a number."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from fgcme.server.limits import Limits
from fgcme.serving.classifier import Classifier
from tests.fitted_model import save_fitted
from tests.served import exchange, get, served

HEADERS = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    classifier = Classifier(save_fitted(tmp_path_factory.mktemp("fitted")))
    with served(classifier, Limits(patience=0.5, connections=4)) as number:
        yield number


@pytest.mark.parametrize("pieces", [[HEADERS[:20]], [HEADERS, *[b"{"] * 20]], ids=["headers", "a dripping body"])
def test_a_request_that_does_not_arrive_in_time_is_refused(port: int, pieces: list[bytes]) -> None:
    begin = time.monotonic()
    reply = exchange(port, *pieces, pause=0.1)
    assert (reply.status, reply.json["reason"]) == (408, "late")
    assert "had not arrived after 0.5 s" in reply.json["detail"]
    assert time.monotonic() - begin < 3


def test_a_connection_that_asks_nothing_is_closed_without_a_word(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        assert connection.recv(100) == b""


def test_a_client_that_was_refused_may_not_send_for_ever(port: int) -> None:
    """Its answer comes at once; what it still sends is dropped, and in the end so is it."""
    huge = HEADERS.replace(b": 100", b": 999999999")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(huge)
        assert connection.recv(12) == b"HTTP/1.1 413"
        with pytest.raises(OSError):
            for _ in range(100):
                connection.sendall(b" " * 1000)
                time.sleep(0.05)


def test_one_connection_too_many_is_told_to_come_again(port: int) -> None:
    idle = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(4)]
    try:
        reply = exchange(port, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert "4 connections are open" in reply.json["detail"]
    finally:
        for connection in idle:
            connection.close()
    while get(port, "/health").status != 200:
        time.sleep(0.05)


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000,
        HEADERS.replace(b"Content-Length: 100", b"Transfer-Encoding: chunked") + b"zz\r\n",
    ],
    ids=["another protocol", "no host", "long headers", "a broken chunk"],
)
def test_what_is_no_http_is_refused_in_json(port: int, request_: bytes) -> None:
    reply = exchange(port, request_)
    assert (reply.status, reply.json["reason"], reply.headers["connection"]) == (400, "not_http", "close")
