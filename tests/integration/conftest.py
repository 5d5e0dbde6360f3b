"""What the integration tests share: Ray, started once for each module of tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipelines import engine


@pytest.fixture(scope="module")
def ray_session() -> Iterator[None]:
    """Ray on this machine, stopped after the module's last test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        with engine.session():
            yield
