"""Pages of other origins cannot use the server, whatever name they give this machine."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from fgcme.server.guard import check


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:9", "localhost", "[::1]:8080", "LOCALHOST:1"])
def test_this_machine_s_own_names_are_answered(host: str) -> None:
    assert check(Headers({"host": host})) is None
    assert check(Headers({"host": host, "origin": f"http://{host}"})) is None


@pytest.mark.parametrize("host", ["", "rebound.example:8080", "127.0.0.1.example", "localhost.example", "[", "0.0.0.0"])
def test_another_name_is_refused(host: str) -> None:
    refused = check(Headers({"host": host}))
    assert refused is not None and refused.status == 421
    assert repr(host) in refused.detail


@pytest.mark.parametrize(
    "origin",
    ["https://other.example", "null", "http://127.0.0.1:8081", "https://127.0.0.1:8080", "http://localhost:8080"],
)
def test_a_page_of_another_origin_is_refused(origin: str) -> None:
    refused = check(Headers({"host": "127.0.0.1:8080", "origin": origin}))
    assert refused is not None and refused.status == 403
    assert origin in refused.detail
