"""What a session of Ray needs before it starts; with Ray it is tested in `tests/integration/test_session.py`."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pipelines.cluster.session import _short_enough, free_port


def test_a_free_port_can_be_bound_and_is_outside_the_range_of_the_system() -> None:
    ports = {free_port() for _ in range(20)}
    assert len(ports) > 1
    for port in ports:
        assert 20_000 <= port < 32_000
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


@pytest.mark.parametrize("letter", ["a", "\u00fc"])
def test_sockets_fit_into_the_folder_for_temporary_files_whatever_its_length(
    letter: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for length in range(1, 60):
        parent = Path("/") / (letter * length)
        chosen = _short_enough(parent)
        # Process ids have up to seven digits.
        session = chosen / "fgcme-ray-12345678" / "session_2000-01-01_00-00-00_000000_4194304" / "sockets"
        assert all(len(os.fsencode(session / name)) <= 107 for name in ("plasma_store", "raylet", "dash_MetricsHead"))
        assert (chosen == Path("/tmp")) == ("go to /tmp" in capsys.readouterr().err)
    assert _short_enough(Path("/tmp/abc")) == Path("/tmp/abc")
