"""What tests of several folders share."""

from pathlib import Path

import pytest

from fgcme.tracking import Tracker
from tests.store import make_tracker


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    """A fresh MLflow store."""
    return make_tracker(tmp_path)
