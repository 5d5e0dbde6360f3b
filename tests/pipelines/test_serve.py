"""Whatever keeps the server from starting is one line, before anything is loaded."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from fgcme.errors import UserError
from pipelines.serve import serve


def test_a_port_that_is_taken_is_refused_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port} cannot be used \(Address already in use\); give --port"):
            serve("nowhere", port)
    with pytest.raises(UserError, match="port 70000 cannot be used"):
        serve("nowhere", 70_000)


def test_a_model_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        serve(str(tmp_path / "gone"), 0)
