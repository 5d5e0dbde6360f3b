"""What waits in a storage folder is sent to its stores, and what cannot be sent is reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.errors import UserError
from fgcme.tracking import Tracker, outbox_for
from fgcme.tracking.outbox import Entry
from pipelines import cli, sync
from tests.store import make_tracker

AWAY = "http://user:secret@127.0.0.1:1"


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    folder = tmp_path / "storage"
    folder.mkdir()
    return folder


def start(experiment: str) -> Entry:
    return {"kind": "start", "experiment": experiment, "name": "run", "parent": None, "tags": {}, "time": 1000}


def metric(name: str, value: float) -> Entry:
    return {"kind": "metrics", "metrics": [[name, value, 2000, 1]]}


def leave_writes(storage: Path, tracker: Tracker) -> None:
    """A start and two metrics of one run, pending in the storage folder."""
    outbox = outbox_for(storage / "outbox", tracker.uri)
    outbox.append("local-1", start(tracker.get_or_create_experiment("sync")))
    outbox.append("local-1", metric("ua", 0.5))
    outbox.append("local-1", metric("wa", 0.25))


def test_a_folder_that_does_not_exist_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: no such folder; give the folder of the results .* with --storage"):
        sync.run(tmp_path / "nowhere")


def test_without_pending_writes_sync_says_so(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sync.run(storage) == 0
    assert capsys.readouterr().out == f"{storage}: nothing waits to be sent\n"
    assert list(storage.iterdir()) == []


def test_writes_are_sent_to_the_store_they_were_meant_for(
    storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trackers = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        trackers.append(make_tracker(tmp_path / name))
        leave_writes(storage, trackers[-1])
    assert sync.run(storage) == 0
    printed = capsys.readouterr().out
    for tracker in trackers:
        assert f"{tracker.uri}: sent 3 writes of 1 runs\n" in printed
        assert tracker.find_run("local-1").data.metrics == {"ua": 0.5, "wa": 0.25}
    assert sync.run(storage) == 0
    assert "nothing waits to be sent" in capsys.readouterr().out


def test_refused_writes_make_it_fail_until_the_user_deletes_them(
    storage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = make_tracker(tmp_path)
    leave_writes(storage, tracker)
    outbox = outbox_for(storage / "outbox", tracker.uri)
    outbox.append("local-1", metric("no:such/name?", 1.0))
    assert sync.run(storage) == 1
    printed = capsys.readouterr().out
    assert "sent 3 writes of 1 runs" in printed
    assert "run local-1: MLflow refuses metrics (Invalid" in printed
    assert f"see {outbox.refused_file} for the reasons, and delete it" in printed
    assert sync.run(storage) == 1
    outbox.refused_file.unlink()
    assert sync.run(storage) == 0


def test_a_store_that_is_away_keeps_its_writes_and_the_others_are_sent(storage: Path, tmp_path: Path) -> None:
    tracker = make_tracker(tmp_path)
    leave_writes(storage, tracker)
    away = outbox_for(storage / "outbox", AWAY)
    away.append("local-2", metric("ua", 0.5))
    with pytest.raises(UserError, match=r"does not answer \(connection refused\)") as refusal:
        sync.run(storage)
    assert str(refusal.value).endswith(
        f"Nothing is lost: 1 writes of 1 runs wait in {away.folder}; run `fgcme sync` again later"
    )
    assert tracker.find_run("local-1").data.metrics["ua"] == 0.5
    assert away.count_pending() == 1


def test_no_password_is_shown(storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outbox_for(storage / "outbox", AWAY).append("local-2", metric("ua", 0.5))
    assert cli.main(["sync", "--storage", str(storage)]) == 2
    printed = capsys.readouterr()
    assert "http://user:...@127.0.0.1:1: the MLflow server does not answer" in printed.err
    assert "secret" not in printed.err + printed.out
