"""A real server stops, hangs or never comes back while processes log to it; no write is lost."""

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
from tests.integration.conftest import PATIENCE, wait_for
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
    """A server that answers, whatever the test before did to it."""
    if not _server.running:
        _server.start()
    return _server


@pytest.fixture
def tracker(server: Server, tmp_path: Path) -> Tracker:
    return Tracker(server.address, outbox=tmp_path / "storage" / "outbox")


@contextlib.contextmanager
def process(work: Callable[[], object]) -> Iterator[ForkProcess]:
    """A process that ends with the block."""
    started = PROCESSES.Process(target=work)
    started.start()
    try:
        yield started
    finally:
        if started.is_alive():
            started.kill()
        started.join(timeout=30)


def sync(tracker: Tracker) -> int:
    """Run `fgcme sync`; returns its exit status."""
    assert tracker.outbox is not None
    return cli.main(["sync", "--storage", str(tracker.outbox.parent)])


def recorded(folder: Path, experiment: str) -> dict[str, list[tuple[str, int, float]]]:
    """All metrics of an experiment in the server's database, by run, in the order in which they were logged."""
    with contextlib.closing(sqlite3.connect(folder / "mlflow.db", timeout=30)) as database:
        runs = database.execute("SELECT name, run_uuid FROM runs WHERE experiment_id = ?", (experiment,)).fetchall()
        assert len({name for name, _ in runs}) == len(runs), "a run was created twice"
        return {
            name: database.execute(
                "SELECT key, step, value FROM metrics WHERE run_uuid = ? ORDER BY timestamp, step, key", (run,)
            ).fetchall()
            for name, run in runs
        }


def metrics(trial: int) -> list[tuple[str, int, float]]:
    """The metrics of a trial."""
    return [(name, epoch, trial + epoch / 10) for epoch in range(1, EPOCHS + 1) for name in ("dev/ua", "train/loss")]


def train(tracker: Tracker, run: str, trial: int, pause: float = 0.0) -> None:
    """Log the epochs of a trial, as a worker does."""
    for epoch in range(1, EPOCHS + 1):
        tracker.log_metrics(run, {"dev/ua": trial + epoch / 10, "train/loss": trial + epoch / 10}, epoch)
        time.sleep(pause)


def conclude(tracker: Tracker, run: str, trial: int, text: str = "done") -> None:
    """End a trial, as the driver does."""
    tracker.set_tags(run, {"fgcme.note": "first"})
    tracker.set_tags(run, {"fgcme.note": f"last of {trial}"})
    tracker.log_text(run, f"{text} {trial}", "notes/note.txt")
    tracker.end_run(run, "FINISHED")


def check(tracker: Tracker, folder: Path, experiment: str, parent: str, trials: int) -> None:
    """Check that everything `trials` trials of a sweep have logged is recorded once."""
    runs = {run.info.run_name: run for run in tracker.child_runs(parent)}
    assert sorted(runs) == sorted(f"trial {trial}" for trial in range(trials))
    found = recorded(folder, experiment)
    for trial in range(trials):
        run = runs[f"trial {trial}"]
        assert found[f"trial {trial}"] == metrics(trial)
        assert run.data.params == {"number": str(trial)}
        assert run.data.tags["fgcme.note"] == f"last of {trial}"
        assert run.info.status == "FINISHED"
        assert tracker.load_yaml(run.info.run_id, "notes/note.txt") == f"done {trial}"


def test_an_epoch_is_one_request(server: Server, tracker: Tracker) -> None:
    run = tracker.create_run(tracker.get_or_create_experiment("requests"), "counted")
    before, batches = server.requests(""), server.requests("/runs/log-batch")
    train(tracker, run, 0)
    wait_for(lambda: server.requests("") >= before + EPOCHS)
    assert server.requests("/runs/log-batch") == batches + EPOCHS
    assert server.requests("") == before + EPOCHS


@pytest.mark.survival
def test_a_sweep_continues_while_its_server_is_away(
    server: Server, tracker: Tracker, folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    experiment = tracker.get_or_create_experiment("interrupted")
    parent = tracker.create_run(experiment, "sweep")
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
                # The server stops during trial 2 and is back for the last two, at any speed.
                if trial in (3, trials - 2):
                    wait_for((away if trial == 3 else back).exists)
                run = tracker.create_run(experiment, f"trial {trial}", parent, parameters={"number": trial})
                given.put((run, trial))
                done.get()
                conclude(tracker, run, trial)
                ended.write_text("." * (trial + 1))
            given.put(None)
            # A training waits for a missing answer once.
            assert done.get() < retrying.PATIENCE_SECONDS + 6

    with process(worker), process(driver) as driving:
        wait_for(lambda: ended.exists() and ended.stat().st_size >= 2, every=0.01)
        server.stop()
        away.touch()
        wait_for(lambda: ended.stat().st_size == trials - 2)
        notice = wait_for(lambda: capfd.readouterr().err)
        server.start()
        back.touch()
        driving.join(timeout=PATIENCE)
        assert driving.exitcode == 0
    assert outbox_for(tmp_path / "storage" / "outbox", server.address).pending_runs() == []
    check(tracker, folder, experiment, parent, trials)
    assert tracker.find_run(parent).info.status == "FINISHED"
    # One notice, by one of the processes.
    assert (notice + capfd.readouterr().err).count("\n") == 1
    for words in ("does not answer (connection refused)", "The work goes on", str(tracker.outbox), "`fgcme sync`"):
        assert words in notice


@pytest.mark.slow
def test_sync_sends_what_was_logged_without_a_server(
    server: Server, tracker: Tracker, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trials = 20
    experiment = tracker.get_or_create_experiment("gone")
    parent = tracker.create_run(experiment, "sweep")
    server.stop()

    def sweep() -> None:
        with tracker.closing_run(parent):
            for trial in range(trials):
                run = tracker.create_run(experiment, f"trial {trial}", parent, parameters={"number": trial})
                train(tracker, run, trial)
                conclude(tracker, run, trial)
            bad = tracker.create_run(experiment, "bad")
            tracker.log_metrics(bad, {"no * name": 1.0}, 1)
            tracker.log_metrics(bad, {"a name": 1.0}, 1)

    with process(sweep) as sweeping:
        sweeping.join(timeout=PATIENCE)
        assert sweeping.exitcode == 0
    assert tracker.outbox is not None
    outbox = outbox_for(tracker.outbox, server.address)
    writes = outbox.count_pending()
    # Of a trial: start, parameters, epochs, two tags, a file and the end.
    assert writes == trials * (2 + EPOCHS + 4) + 3 + 1
    assert "`fgcme sync --storage" in capfd.readouterr().err
    with pytest.raises(UserError, match="does not answer"):
        tracker.child_runs(parent)

    assert sync(tracker) == 2
    printed = capfd.readouterr().err
    assert "does not answer (connection refused)" in printed
    assert f"Nothing is lost: {writes} writes of {trials + 2} runs wait" in printed
    assert outbox.count_pending() == writes

    server.start()
    for share in (2, 8):
        # Kill it while it sends.
        with process(lambda: sync(tracker)) as sending:
            wait_for(lambda share=share: len(recorded(folder, experiment)) >= share, every=0.01)  # type: ignore[misc]
            os.kill(sending.pid or 0, signal.SIGKILL)
    assert outbox.pending_runs(), "it was killed too late"
    with process(lambda: os._exit(sync(tracker))) as one, process(lambda: os._exit(sync(tracker))) as another:
        for sending in (one, another):
            sending.join(timeout=PATIENCE)
    # The metric with a bad name is refused, and not retried.
    assert {one.exitcode, another.exitcode} == {1}
    check(tracker, folder, experiment, parent, trials)
    assert tracker.find_run(parent).info.status == "FINISHED"
    assert recorded(folder, experiment)["bad"] == [("a name", 1, 1.0)]
    assert "no * name" in outbox.refused_file.read_text()
    capfd.readouterr()
    outbox.refused_file.unlink()
    assert sync(tracker) == 0
    assert "nothing waits" in capfd.readouterr().out


def test_a_run_requested_from_a_hanging_server_is_created_once(
    server: Server, tracker: Tracker, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = tracker.get_or_create_experiment("silent")
    tracker.create_run(experiment, "before")
    server.pause()
    with monkeypatch.context() as patch:
        patch.setattr(retrying, "PATIENCE_SECONDS", 2.0)
        run = tracker.create_run(experiment, "requested")
    assert run.startswith("local-")
    train(tracker, run, 0)
    server.resume()
    # The server now answers the request whose sender has given up.
    wait_for(lambda: tracker.outbox and not outbox_for(tracker.outbox, server.address).pending_runs())
    assert recorded(folder, experiment) == {"before": [], "requested": metrics(0)}
    # The local id stays valid, here and in other processes.
    tracker.log_metrics(run, {"dev/ua": 1.0}, EPOCHS + 1)
    other: Any = Tracker(server.address)
    other.set_tags(run, {"fgcme.note": "later"})
    assert tracker.metric_history(run, "dev/ua")[-1] == (EPOCHS + 1, 1.0)
    assert other.find_run(run).data.tags["fgcme.note"] == "later"


def test_a_locked_database_does_not_stop_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = make_tracker(tmp_path)
    experiment = tracker.get_or_create_experiment("locked")
    run = tracker.create_run(experiment, "run")
    with (
        contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db", isolation_level=None)) as other,
        monkeypatch.context() as patch,
    ):
        patch.setattr(retrying, "PATIENCE_SECONDS", 1.0)
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        train(tracker, run, 0)
        # An epoch that waits is tried for two seconds at least.
        assert time.monotonic() - began < 2 * EPOCHS
        other.execute("ROLLBACK")
    tracker.end_run(run, "FINISHED")
    tracker.flush_outbox()
    assert recorded(tmp_path, experiment) == {"run": metrics(0)}
    assert tracker.find_run(run).info.status == "FINISHED"
