"""What a session of Ray needs before it starts; with Ray it is tested in `tests/integration/test_session.py`."""

from __future__ import annotations

import socket

from pipelines.cluster.session import free_port


def test_a_free_port_can_be_bound_and_is_outside_the_range_of_the_system() -> None:
    ports = {free_port() for _ in range(20)}
    assert len(ports) > 1
    for port in ports:
        assert 20_000 <= port < 32_000
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
