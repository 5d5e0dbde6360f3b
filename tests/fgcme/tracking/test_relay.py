"""Writes reach a real store, direct or through the outbox, once and in order."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from fgcme.tracking import Outbox, OutboxRelay, Tracker, outbox_for, retrying
from fgcme.tracking.outbox import Entry
from tests.store import make_tracker


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    """Reads what the relay has written."""
    return make_tracker(tmp_path)


@pytest.fixture
def experiment(tracker: Tracker) -> str:
    return tracker.get_or_create_experiment("relay")


@pytest.fixture
def outbox(tracker: Tracker, tmp_path: Path) -> Outbox:
    return outbox_for(tmp_path / "outbox", tracker.uri)


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[None]]:
    """A block in which the store does not answer: another program has locked its database."""
    monkeypatch.setattr(retrying, "PATIENCE_SECONDS", 0.5)

    @contextlib.contextmanager
    def locked() -> Iterator[None]:
        with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            yield
            other.execute("ROLLBACK")
        # The database is slow here, not away.
        monkeypatch.setattr(retrying, "PATIENCE_SECONDS", 60.0)

    return locked


def start(experiment: str, parent: str | None = None) -> Entry:
    return {"kind": "start", "experiment": experiment, "name": "run", "parent": parent, "tags": {}, "time": 1000}


def metric(name: str, value: float, step: int = 1) -> Entry:
    return {"kind": "metrics", "metrics": [[name, value, 2000, step]]}


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_store_that_answers_is_written_to_directly(tracker: Tracker, experiment: str, outbox: Outbox) -> None:
    relay = OutboxRelay(outbox)
    run = relay.write("local-1", start(experiment))
    assert tracker.client.get_run(run).info.run_name == "run"
    assert relay.write(run, metric("ua", 0.5)) == run
    assert tracker.metric_history(run, "ua") == [(1, 0.5)]
    assert not outbox.folder.exists()


def test_what_the_store_refuses_is_raised_and_not_kept(tracker: Tracker, experiment: str, outbox: Outbox) -> None:
    relay = OutboxRelay(outbox)
    run = relay.write("local-1", start(experiment))
    with pytest.raises(MlflowException, match="Invalid"):
        relay.write(run, metric("no:such/name?", 1.0))
    assert outbox.pending_runs() == []


def test_writes_wait_while_the_store_is_away_and_are_sent_once_in_order(
    tracker: Tracker,
    experiment: str,
    outbox: Outbox,
    tmp_path: Path,
    away: Callable[[], AbstractContextManager[None]],
) -> None:
    relay = OutboxRelay(outbox)
    note = tmp_path / "note.txt"
    note.write_text("as it was logged")
    with away():
        assert relay.write("local-1", start(experiment)) == "local-1"
        # Only the first write waits for the store; each of these would wait for two seconds.
        started = time.monotonic()
        for step in (1, 2):
            relay.write("local-1", metric("ua", step / 4, step))
        relay.write("local-1", {"kind": "artifact", "path": str(note), "folder": None})
        relay.write("local-1", {"kind": "tags", "tags": {"fgcme.note": "first"}})
        relay.write("local-1", {"kind": "tags", "tags": {"fgcme.note": "last"}})
        assert time.monotonic() - started < 2 * 5
        note.write_text("changed since")
        assert relay.send_pending(wait=True).problem
        assert outbox.count_pending() == 6
    report = relay.send_pending(wait=True)
    wait_until(lambda: not outbox.pending_runs())
    assert (report.problem, report.stuck, report.refused) == (None, {}, [])
    # The request whose sender gave up may have created the run, or the one after it.
    (run,) = tracker.client.search_runs([experiment])
    assert outbox.run_id("local-1") == run.info.run_id
    assert tracker.metric_history(run.info.run_id, "ua") == [(1, 0.25), (2, 0.5)]
    assert run.data.tags["fgcme.note"] == "last"
    assert tracker.load_yaml(run.info.run_id, "note.txt") == "as it was logged"
    # The local id stays valid.
    assert relay.write("local-1", metric("ua", 1.0, 3)) == run.info.run_id
    assert tracker.metric_history("local-1", "ua")[-1] == (3, 1.0)


def test_a_report_counts_what_was_sent(experiment: str, outbox: Outbox) -> None:
    outbox.append("local-1", start(experiment))
    for step in range(3):
        outbox.append("local-1", metric("ua", 0.5, step))
    outbox.append("local-2", start(experiment))
    report = OutboxRelay(outbox).send_pending(wait=True)
    assert (report.runs, report.writes) == ({"local-1", "local-2"}, 5)
    assert OutboxRelay(outbox).send_pending(wait=True).writes == 0


def test_what_the_store_refuses_later_is_set_aside_and_the_rest_is_sent(
    tracker: Tracker, experiment: str, outbox: Outbox
) -> None:
    outbox.append("local-1", start(experiment))
    outbox.append("local-1", metric("no:such/name?", 1.0))
    outbox.append("local-1", metric("ua", 0.5))
    report = OutboxRelay(outbox).send_pending(wait=True)
    assert report.writes == 2
    (sentence,) = report.refused
    assert sentence.startswith("run local-1: MLflow refuses metrics (Invalid")
    assert sentence.endswith(f"kept in {outbox.refused_file}")
    assert "no:such/name?" in outbox.refused_file.read_text()
    assert tracker.metric_history("local-1", "ua") == [(1, 0.5)]
    assert outbox.pending_runs() == []


def test_a_parent_is_created_before_its_child(tracker: Tracker, experiment: str, outbox: Outbox) -> None:
    outbox.append("local-b", start(experiment))
    # Runs are sent by name: this one comes first.
    outbox.append("local-a", start(experiment, "local-b"))
    OutboxRelay(outbox).send_pending(wait=True)
    parent, child = outbox.run_id("local-b"), outbox.run_id("local-a")
    assert child is not None
    assert tracker.client.get_run(child).data.tags["mlflow.parentRunId"] == parent


def test_a_child_waits_behind_its_pending_parent(experiment: str, outbox: Outbox) -> None:
    outbox.append("local-parent", start(experiment))
    relay = OutboxRelay(outbox)
    assert relay.write("local-child", start(experiment, "local-parent")) == "local-child"
    assert outbox.pending_runs() == ["local-child", "local-parent"]
    relay.send_pending(wait=True)
    assert outbox.pending_runs() == []


def test_a_write_waits_behind_pending_ones_of_a_run_that_is_already_created(
    tracker: Tracker, experiment: str, outbox: Outbox
) -> None:
    relay = OutboxRelay(outbox)
    outbox.save_run_id("local-1", relay.write("local-1", start(experiment)))
    outbox.append("local-1", {"kind": "tags", "tags": {"fgcme.note": "first"}})
    assert relay.write("local-1", {"kind": "tags", "tags": {"fgcme.note": "last"}}) == "local-1"
    assert outbox.count_pending() == 2
    relay.send_pending(wait=True)
    assert tracker.find_run("local-1").data.tags["fgcme.note"] == "last"


def test_a_run_that_was_created_before_its_reply_was_lost_is_not_created_again(
    tracker: Tracker, experiment: str, outbox: Outbox
) -> None:
    relay = OutboxRelay(outbox)
    run = relay.write("local-1", start(experiment))
    assert outbox.mark_requested("local-1")
    outbox.append("local-1", start(experiment))
    relay.send_pending(wait=True)
    assert outbox.run_id("local-1") == run
    assert len(tracker.client.search_runs([experiment])) == 1


def test_one_process_sends_at_a_time(experiment: str, outbox: Outbox) -> None:
    outbox.append("local-1", start(experiment))
    with outbox.sending_lock(wait=False) as acquired:
        assert acquired
        assert OutboxRelay(outbox).send_pending(wait=False).writes == 0
    assert outbox.pending_runs() == ["local-1"]
    assert OutboxRelay(outbox).send_pending(wait=False).writes == 1


def test_while_watched_other_processes_entries_are_sent_in_the_background(experiment: str, outbox: Outbox) -> None:
    relay = OutboxRelay(outbox)
    relay.watch()
    try:
        outbox.append("local-1", start(experiment))
        wait_until(lambda: outbox.run_id("local-1") and not outbox.pending_runs())
    finally:
        relay.unwatch()


def test_while_watched_the_user_is_told_once_that_the_store_is_away(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outbox = outbox_for(tmp_path / "outbox", "http://user:secret@127.0.0.1:1")
    relay = OutboxRelay(outbox)
    relay.watch()
    try:
        assert relay.write("local-1", start("1")) == "local-1"
        notices = ""
        deadline = time.monotonic() + 60
        while "\n" not in notices and time.monotonic() < deadline:
            time.sleep(0.1)
            notices += capsys.readouterr().err
        # Two more attempts of the background thread.
        time.sleep(7)
        notices += capsys.readouterr().err
    finally:
        relay.unwatch()
    assert notices.count("\n") == 1
    assert "http://user:...@127.0.0.1:1: the MLflow server does not answer" in notices
    assert f"kept in {tmp_path}/outbox and sent later, by `fgcme sync` if need be" in notices
    assert outbox.pending_runs() == ["local-1"]


def test_runs_of_machines_whose_clocks_differ_by_an_hour_are_recorded_whole(
    tracker: Tracker, experiment: str, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = 3600 * 10**9
    now = time.time_ns()

    def add(host: str, ahead: int, *entries: Entry) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("socket.gethostname", lambda: host)
            patch.setattr("time.time_ns", lambda: now + ahead)
            for entry in entries:
                outbox.append("local-1", entry)

    # A driver on a machine whose clock is fast, a worker, and a second driver, which resumes the run.
    add("fast", hour, start(experiment), {"kind": "parameters", "parameters": {"fold": "0"}})
    add("slow", 0, metric("ua", 0.25, 1), {"kind": "tags", "tags": {"fgcme.note": "worker"}})
    add("fast", hour, metric("ua", 0.5, 2), {"kind": "ended", "status": "KILLED", "time": 3000})
    add("slow", 0, {"kind": "running"}, metric("ua", 0.75, 3), {"kind": "tags", "tags": {"fgcme.note": "resumed"}})
    add("slow", 1, {"kind": "ended", "status": "FINISHED", "time": 4000})
    report = OutboxRelay(outbox).send_pending(wait=True)
    assert (report.writes, report.refused) == (10, [])
    run = tracker.find_run("local-1")
    assert tracker.metric_history("local-1", "ua") == [(1, 0.25), (2, 0.5), (3, 0.75)]
    assert (run.data.params, run.data.tags["fgcme.note"]) == ({"fold": "0"}, "resumed")
    assert (run.info.status, run.info.end_time) == ("FINISHED", 4000)


def test_a_write_follows_the_pending_ones_that_another_machine_has_just_added(
    experiment: str, outbox: Outbox, late: Callable[[Path], None]
) -> None:
    relay = OutboxRelay(outbox)
    assert not outbox.has_pending("local-1")
    outbox.append("local-1", start(experiment))
    late(outbox.folder)
    assert relay.write("local-1", metric("ua", 0.5)) == "local-1"
    assert outbox.count_pending() == 2


def test_a_write_to_a_run_of_which_nothing_is_known_yet_stops_no_training(outbox: Outbox) -> None:
    relay = OutboxRelay(outbox)
    assert relay.write("local-1", metric("ua", 0.5)) == "local-1"
    assert outbox.pending_runs() == ["local-1"]
    (sentence,) = relay.send_pending(wait=True).refused
    assert "run local-1 is not recorded" in sentence


@pytest.mark.parametrize(("line", "kind"), [("\0\0\0}", "damaged"), ('{"kind": "new"}', "new")])
def test_an_entry_that_cannot_be_read_is_set_aside_and_the_rest_is_sent(
    tracker: Tracker, experiment: str, outbox: Outbox, line: str, kind: str
) -> None:
    outbox.append("local-1", start(experiment))
    with (outbox.folder / "waiting" / "local-1.jsonl").open("a") as file:
        file.write(f"{line}\n")
    outbox.append("local-1", metric("ua", 0.5))
    report = OutboxRelay(outbox).send_pending(wait=True)
    assert report.writes == 2
    assert f"entries of kind '{kind}' cannot be sent" in report.refused[0]
    refused = json.loads(outbox.refused_file.read_text())
    assert (refused["run"], refused["kind"]) == ("local-1", kind)
    assert refused.get("text") == (f"{line}\n" if kind == "damaged" else None)
    assert tracker.metric_history("local-1", "ua") == [(1, 0.5)]


def test_a_folder_that_cannot_be_read_is_a_problem_like_a_store_that_is_away(experiment: str, outbox: Outbox) -> None:
    outbox.append("local-1", start(experiment))
    (outbox.folder / "sending.lock").mkdir()
    assert OutboxRelay(outbox).send_pending(wait=True).problem == f"{outbox.folder}: Is a directory"
