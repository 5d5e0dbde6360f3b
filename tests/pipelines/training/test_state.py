"""The state that a training resumes from."""

from __future__ import annotations

import errno
import resource
import signal
from pathlib import Path

import pytest
import torch

from pipelines.training.state import load_state, save_state


def test_a_saved_state_is_read_back(tmp_path: Path) -> None:
    save_state({"epoch": 3, "weights": torch.ones(2)}, tmp_path / "state.pt")
    state = load_state(tmp_path / "state.pt")
    assert state is not None and state["epoch"] == 3 and state["weights"].tolist() == [1, 1]
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_a_missing_or_damaged_state_is_none(tmp_path: Path) -> None:
    assert load_state(tmp_path / "state.pt") is None
    save_state({"weights": torch.ones(1000)}, tmp_path / "state.pt")
    whole = (tmp_path / "state.pt").read_bytes()
    for damaged in (b"", b"nonsense", bytes(1000), b"PK\x03\x04torn", whole[:100], whole[:-100]):
        (tmp_path / "state.pt").write_bytes(damaged)
        assert load_state(tmp_path / "state.pt") is None


@pytest.mark.parametrize("tensors", [1, 6])
def test_a_disk_that_refuses_a_state_is_the_error_and_the_state_before_stays(tmp_path: Path, tensors: int) -> None:
    save_state({"epoch": 1}, tmp_path / "state.pt")
    larger = {str(number): torch.ones(50_000) for number in range(tensors)}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
        with pytest.raises(OSError) as refused:
            save_state(larger, tmp_path / "state.pt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert refused.value.errno == errno.EFBIG
    assert load_state(tmp_path / "state.pt") == {"epoch": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]


def test_a_disk_that_cannot_be_read_is_an_error_and_not_a_missing_state(tmp_path: Path) -> None:
    (tmp_path / "state.pt").mkdir()
    with pytest.raises(OSError):
        load_state(tmp_path / "state.pt")


def test_a_state_that_cannot_be_written_leaves_the_earlier_one(tmp_path: Path) -> None:
    save_state({"epoch": 1}, tmp_path / "state.pt")
    with pytest.raises(Exception, match="pickle"):
        save_state({"epoch": lambda: 2}, tmp_path / "state.pt")
    state = load_state(tmp_path / "state.pt")
    assert state is not None and state["epoch"] == 1
