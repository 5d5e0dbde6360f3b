"""Runs outlive their server: a real one stops, falls silent or goes for good while processes log; nothing is lost."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import mlflow  # noqa: F401  # once, rather than in every fork
import pytest

from fgcme.errors import UserError
from fgcme.tracking import Tracker, retrying
from fgcme.tracking.outbox import outbox_for
from pipelines import cli
from tests.integration.conftest import wait_for
from tests.store import Server, make_tracker, serving

pytestmark = pytest.mark.integration

PROCESSES = multiprocessing.get_context("fork")
EPOCHS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def _server(folder: Path) -> Iterator[Server]:
    with serving(Server(folder, make_tracker(folder).uri, str(folder / "kept"))) as server:
        yield server


@pytest.fixture
def server(_server: Server) -> Server:
    """A server that answers; the test before may have left it otherwise."""
    if not _server.running:
        _server.start()
    return _server


@pytest.fixture
def tracker(server: Server, tmp_path: Path) -> Tracker:
    return Tracker(server.address, outbox=tmp_path / "storage" / "outbox")


@contextlib.contextmanager
def process(work: Callable[[], object]) -> Iterator[ForkProcess]:
    """A process, gone at the end of the block."""
    started = PROCESSES.Process(target=work)
    started.start()
    try:
        yield started
    finally:
        if started.is_alive():
            started.kill()
        started.join(timeout=30)


def sync(tracker: Tracker) -> int:
    """`fgcme sync`; the exit status."""
    assert tracker.outbox is not None
    return cli.main(["sync", "--storage", str(tracker.outbox.parent)])


def recorded(folder: Path, study: str) -> dict[str, list[tuple[str, int, float]]]:
    """Every metric that the server's database has of an experiment, by run, in the order in which it was measured."""
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db", timeout=30)) as database:
        runs = database.execute("SELECT name, run_uuid FROM runs WHERE experiment_id = ?", (study,)).fetchall()
        assert len({name for name, _ in runs}) == len(runs), "a run was made twice"
        return {
            name: database.execute(
                "SELECT key, step, value FROM metrics WHERE run_uuid = ? ORDER BY timestamp, step, key", (run,)
            ).fetchall()
            for name, run in runs
        }


def metrics(trial: int) -> list[tuple[str, int, float]]:
    """What a trial logs."""
    return [(name, epoch, trial + epoch / 10) for epoch in range(1, EPOCHS + 1) for name in ("dev/ua", "train/loss")]


def train(tracker: Tracker, run: str, trial: int, pause: float = 0.0) -> None:
    """What a worker does."""
    for epoch in range(1, EPOCHS + 1):
        tracker.log_metrics(run, {"dev/ua": trial + epoch / 10, "train/loss": trial + epoch / 10}, epoch)
        time.sleep(pause)


def conclude(tracker: Tracker, run: str, trial: int, text: str = "done") -> None:
    """What the driver does when a worker is done."""
    tracker.set_tags(run, {"fgcme.note": "first"})
    tracker.set_tags(run, {"fgcme.note": f"last of {trial}"})
    tracker.log_text(run, f"{text} {trial}", "notes/note.txt")
    tracker.end_run(run, "FINISHED")


def check(tracker: Tracker, folder: Path, study: str, parent: str, trials: int) -> None:
    """Everything that `trials` trials of a sweep have logged is there, once."""
    runs = {run.info.run_name: run for run in tracker.child_runs(parent)}
    assert sorted(runs) == sorted(f"trial {trial}" for trial in range(trials))
    found = recorded(folder, study)
    for trial in range(trials):
        run = runs[f"trial {trial}"]
        assert found[f"trial {trial}"] == metrics(trial)
        assert run.data.params == {"number": str(trial)}
        assert run.data.tags["fgcme.note"] == f"last of {trial}"
        assert run.info.status == "FINISHED"
        assert tracker.load_yaml(run.info.run_id, "notes/note.txt") == f"done {trial}"


def test_an_epoch_is_one_request(server: Server, tracker: Tracker) -> None:
    run = tracker.create_run(tracker.get_or_create_experiment("requests"), "counted")
    before = server.requests("")
    train(tracker, run, 0)
    wait_for(lambda: server.requests("") >= before + EPOCHS, 10)
    assert server.requests("/runs/log-batch") == EPOCHS
    assert server.requests("") == before + EPOCHS


def test_a_sweep_goes_on_while_its_server_is_away_for_a_while(
    server: Server, tracker: Tracker, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    study = tracker.get_or_create_experiment("interrupted")
    parent = tracker.create_run(study, "sweep")
    trials, ended, away, back = 10, tmp_path / "ended", tmp_path / "away", tmp_path / "back"
    given, done = PROCESSES.SimpleQueue(), PROCESSES.SimpleQueue()

    def worker() -> None:
        slowest = 0.0
        while (task := given.get()) is not None:
            began = time.monotonic()
            train(tracker, *task, pause=0.02)
            slowest = max(slowest, time.monotonic() - began)
            done.put(task)
        done.put(slowest)

    def driver() -> None:
        with tracker.closing_run(parent):
            for trial in range(trials):
                # The server goes in the middle of trial 2 and is back for the last two, however slow this process is.
                if trial in (3, trials - 2):
                    wait_for((away if trial == 3 else back).exists)
                run = tracker.create_run(study, f"trial {trial}", parent, parameters={"number": trial})
                given.put((run, trial))
                done.get()
                conclude(tracker, run, trial)
                ended.write_text("." * (trial + 1))
            given.put(None)
            # An epoch never waited longer than for one answer that does not come.
            assert done.get() < retrying.PATIENCE_SECONDS + 6

    with process(worker), process(driver) as driving:
        wait_for(lambda: ended.exists() and ended.stat().st_size >= 2, every=0.01)
        server.stop()
        away.touch()
        wait_for(lambda: ended.stat().st_size == trials - 2)
        said = wait_for(lambda: capfd.readouterr().err)
        server.start()
        back.touch()
        driving.join(timeout=120)
        assert driving.exitcode == 0
    assert outbox_for(tmp_path / "storage" / "outbox", server.address).pending_runs() == []
    check(tracker, folder, study, parent, trials)
    assert tracker.find_run(parent).info.status == "FINISHED"
    # Once, by one of the processes.
    assert (said + capfd.readouterr().err).count("\n") == 1
    for words in ("does not answer (connection refused)", "The work goes on", str(tracker.outbox), "`fgcme sync`"):
        assert words in said


def test_what_a_server_that_is_gone_for_good_has_missed_is_sent_by_sync(
    server: Server, tracker: Tracker, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trials = 20
    study = tracker.get_or_create_experiment("gone")
    parent = tracker.create_run(study, "sweep")
    server.stop()

    def sweep() -> None:
        with tracker.closing_run(parent):
            for trial in range(trials):
                run = tracker.create_run(study, f"trial {trial}", parent, parameters={"number": trial})
                train(tracker, run, trial)
                conclude(tracker, run, trial)
            bad = tracker.create_run(study, "bad")
            tracker.log_metrics(bad, {"no * name": 1.0}, 1)
            tracker.log_metrics(bad, {"a name": 1.0}, 1)

    with process(sweep) as sweeping:
        sweeping.join(timeout=120)
        assert sweeping.exitcode == 0
    assert tracker.outbox is not None
    outbox = outbox_for(tracker.outbox, server.address)
    writes = outbox.count_pending()
    # A trial starts, has its parameters, epochs, two tags, a file and an end.
    assert writes == trials * (2 + EPOCHS + 4) + 3 + 1
    assert "`fgcme sync --storage" in capfd.readouterr().err
    with pytest.raises(UserError, match="does not answer"):
        tracker.child_runs(parent)

    assert sync(tracker) == 2
    said = capfd.readouterr().err
    assert "does not answer (connection refused)" in said
    assert f"Nothing is lost: {writes} writes of {trials + 2} runs wait" in said
    assert outbox.count_pending() == writes

    server.start()
    for share in (2, 8):
        # Killed in the middle.
        with process(lambda: sync(tracker)) as sending:
            wait_for(lambda share=share: len(recorded(folder, study)) >= share, every=0.01)  # type: ignore[misc]
            os.kill(sending.pid or 0, signal.SIGKILL)
    assert outbox.pending_runs(), "it was killed too late"
    with process(lambda: os._exit(sync(tracker))) as one, process(lambda: os._exit(sync(tracker))) as another:
        for sending in (one, another):
            sending.join(timeout=120)
    # A name that MLflow refuses is nothing to try for ever.
    assert {one.exitcode, another.exitcode} == {1}
    check(tracker, folder, study, parent, trials)
    assert tracker.find_run(parent).info.status == "FINISHED"
    assert recorded(folder, study)["bad"] == [("a name", 1, 1.0)]
    assert "no * name" in outbox.rejected_file.read_text()
    capfd.readouterr()
    outbox.rejected_file.unlink()
    assert sync(tracker) == 0
    assert "nothing waits" in capfd.readouterr().out


def test_a_run_that_a_silent_server_was_asked_for_is_made_once(
    server: Server, tracker: Tracker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "PATIENCE_SECONDS", 2.0)
    study = tracker.get_or_create_experiment("silent")
    tracker.create_run(study, "before")
    server.pause()
    run = tracker.create_run(study, "asked for")
    assert run.startswith("local-")
    train(tracker, run, 0)
    server.go_on()
    # The request that was given up is answered now, and nobody hears of it.
    wait_for(lambda: tracker.outbox and not outbox_for(tracker.outbox, server.address).pending_runs(), 60)
    assert recorded(folder, study) == {"before": [], "asked for": metrics(0)}
    # The local id goes on to be good, here and in other processes.
    tracker.log_metrics(run, {"dev/ua": 1.0}, EPOCHS + 1)
    other: Any = Tracker(server.address)
    other.set_tags(run, {"fgcme.note": "later"})
    assert tracker.metric_history(run, "dev/ua")[-1] == (EPOCHS + 1, 1.0)
    assert other.find_run(run).data.tags["fgcme.note"] == "later"


def test_a_database_that_is_locked_for_long_does_not_hold_a_training_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "PATIENCE_SECONDS", 1.0)
    tracker = make_tracker(tmp_path)
    study = tracker.get_or_create_experiment("locked")
    run = tracker.create_run(study, "run")
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        train(tracker, run, 0)
        assert time.monotonic() - began < 6
        other.execute("ROLLBACK")
    tracker.end_run(run, "FINISHED")
    tracker.flush_outbox()
    assert recorded(tmp_path, study) == {"run": metrics(0)}
    assert tracker.find_run(run).info.status == "FINISHED"
