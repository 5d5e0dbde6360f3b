"""Trials' runs are written by a thread: in order, in few requests, and without anybody waiting for the store."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from fgcme.tracking import Tracker
from pipelines.sweep.run_writer import RunWriter
from pipelines.sweep.trial_folder import TrialFolder


class CountingTracker(Tracker):
    """Remembers which steps it logged at once."""

    @property
    def logged(self) -> list[list[int]]:
        return self.__dict__.setdefault("_logged", [])

    def log_history(self, run_id: str, history: Mapping[int, Mapping[str, float]]) -> None:
        self.logged.append(list(history))
        super().log_history(run_id, history)


@pytest.fixture
def counting(tracker: Tracker) -> CountingTracker:
    return CountingTracker(tracker.uri)


@pytest.fixture
def folders(counting: CountingTracker, tmp_path: Path) -> list[TrialFolder]:
    """Of two trials that have runs."""
    experiment, folders = counting.get_or_create_experiment("written"), []
    for name in ("0", "1"):
        folder = TrialFolder(tmp_path / name)
        folder.path.mkdir()
        folder.run_id_file.write_text(counting.create_run(experiment, name))
        folders.append(folder)
    return folders


def test_nobody_waits_for_the_store_and_what_has_waited_shares_requests(
    counting: CountingTracker, folders: list[TrialFolder]
) -> None:
    writer, (first, second) = RunWriter(counting), folders
    go_on, waited = threading.Event(), list[bool]()
    writer.submit(first, lambda: waited.append(go_on.wait(60)))
    for step in range(1, 5):
        writer.log(first, {"dev/ua": step / 10}, step)
        writer.log(second, {"dev/ua": step / 10}, step)
    writer.submit(second, lambda: counting.end_run(second.run_id(), "FINISHED"))
    go_on.set()
    writer.flush()
    assert waited == [True] and writer.count_waiting() == 0
    for folder in folders:
        assert counting.metric_history(folder.run_id(), "dev/ua") == [(step, step / 10) for step in range(1, 5)]
    assert counting.find_run(second.run_id()).info.status == "FINISHED"
    # Those that came before the first write had begun, if any, and all others at once.
    assert len(counting.logged) <= 4


def test_writes_to_a_run_keep_their_order(counting: CountingTracker, folders: list[TrialFolder]) -> None:
    writer, folder, seen = RunWriter(counting), folders[0], []
    writer.submit(folder, lambda: time.sleep(0.2))
    writer.log(folder, {"dev/ua": 0.1}, 1)
    writer.submit(folder, lambda: seen.append(counting.metric_history(folder.run_id(), "dev/ua")))
    writer.log(folder, {"dev/ua": 0.2}, 2)
    writer.flush()
    assert seen == [[(1, 0.1)]]
    assert [step for step, _ in counting.metric_history(folder.run_id(), "dev/ua")] == [1, 2]


def test_a_write_that_fails_is_raised_whenever_it_is_asked_for(
    counting: CountingTracker, folders: list[TrialFolder]
) -> None:
    def refuse() -> None:
        raise OSError("the disk is full")

    writer = RunWriter(counting)
    writer.check()
    writer.submit(folders[0], refuse)
    with pytest.raises(OSError, match="the disk is full"):
        writer.flush()
    # Ray Tune would print a page if a callback that ends a trial raised it.
    writer.log(folders[1], {"dev/ua": 0.1}, 1)
    with pytest.raises(OSError, match="the disk is full"):
        writer.check()
    with pytest.raises(OSError, match="the disk is full"):
        writer.flush()
    assert counting.logged == []


def test_nothing_to_write_takes_no_time(counting: CountingTracker) -> None:
    started = time.monotonic()
    RunWriter(counting).flush()
    # It would look again after half a second.
    assert time.monotonic() - started < 0.4
