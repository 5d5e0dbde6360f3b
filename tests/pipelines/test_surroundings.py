"""Outputs that hold few letters, and proxies."""

import io

import pytest

from pipelines.surroundings import keep_loopback_from_proxies, write_what_can_be_written


@pytest.mark.parametrize(
    "encoding, written",
    [
        ("ascii", b"-0.1 +-2 ... \\u5feb\\u4e50 \\U0001f600"),
        ("latin-1", b"-0.1 \xb12 ... \\u5feb\\u4e50 \\U0001f600"),
        ("utf-8", "\u22120.1 \u00b12 \u2026 \u5feb\u4e50 \U0001f600".encode()),
    ],
)
def test_what_an_output_cannot_hold_is_replaced(encoding: str, written: bytes) -> None:
    content = io.BytesIO()
    stream = io.TextIOWrapper(content, encoding=encoding)
    write_what_can_be_written([stream, io.StringIO()])
    print("\u22120.1 \u00b12 \u2026 \u5feb\u4e50 \U0001f600", end="", file=stream, flush=True)
    assert content.getvalue() == written


def test_this_machine_is_reached_without_a_proxy() -> None:
    environment = {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": "example.org, localhost"}
    keep_loopback_from_proxies(environment)
    assert environment["no_proxy"] == environment["NO_PROXY"] == "example.org,localhost,127.0.0.1,::1"
    everything = {"http_proxy": "http://proxy:3128", "no_proxy": "*"}
    keep_loopback_from_proxies(everything)
    assert everything["NO_PROXY"] == "*"
    without: dict[str, str] = {}
    keep_loopback_from_proxies(without)
    assert without == {}
