"""What tests of several folders share."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from fgcme.tracking import Tracker
from tests.shared_disk import late, nfs_locks, stale
from tests.store import make_tracker

__all__ = ["late", "nfs_locks", "stale"]

# On a busy machine an example takes long, to draw and to try, without being wrong.
settings.register_profile("no deadline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no deadline")


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    """A fresh MLflow store."""
    return make_tracker(tmp_path)
