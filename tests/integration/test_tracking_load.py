"""Thirty-two processes log at once: no write fails, and the database has exactly what they logged."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import mlflow  # noqa: F401  # once, rather than in every fork
import pytest
import sqlalchemy
from moto.server import ThreadedMotoServer

from fgcme.tracking import Tracker, retrying
from tests.postgresql import running_postgresql
from tests.store import Server, make_tracker, serving

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PROCESSES = multiprocessing.get_context("fork")
TRIALS, EPOCHS, METRICS, PARAMETERS = 32, 8, 6, 40
BUCKET = "runs"
KEYS = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(autouse=True)
def _any_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only failed writes go into the outbox, even if this machine is slow."""
    monkeypatch.setattr(retrying, "PATIENCE_SECONDS", 200.0)


def trial(tracker: Tracker, experiment: str, parent: str, number: int, gate: Any) -> None:
    """Start together with all other trials, and log as fast as possible."""
    gate.wait(120)
    parameters = {f"setting_{index}": number for index in range(PARAMETERS)}
    run = tracker.create_run(experiment, f"trial {number}", parent, {"fgcme.kind": "trial"}, parameters)
    for epoch in range(1, EPOCHS + 1):
        tracker.log_metrics(run, {f"dev/metric_{index}": number + epoch / 100 for index in range(METRICS)}, epoch)
    tracker.set_tags(run, {"fgcme.note": f"of {number}"})
    tracker.log_text(run, f"trial {number}", "note.txt")
    tracker.end_run(run, "FINISHED")


def start_sweep(tracker: Tracker, started: Any) -> None:
    experiment = tracker.get_or_create_experiment("load")
    started.put((experiment, tracker.create_run(experiment, "sweep")))


def log_all_at_once(tracker: Tracker) -> tuple[str, str]:
    """Run all trials; returns the ids of the experiment and of the sweep's run."""
    # A database that is open in this process would break in the forked ones.
    started, gate = PROCESSES.Queue(), PROCESSES.Barrier(TRIALS)
    starter = PROCESSES.Process(target=start_sweep, args=(tracker, started))
    starter.start()
    experiment, parent = started.get(timeout=120)
    starter.join()
    trials = [
        PROCESSES.Process(target=trial, args=(tracker, experiment, parent, number, gate)) for number in range(TRIALS)
    ]
    for process in trials:
        process.start()
    for process in trials:
        process.join(timeout=300)
    assert [process.exitcode for process in trials] == [0] * TRIALS
    return experiment, parent


def check(tracker: Tracker, database: str, experiment: str, parent: str) -> None:
    """Check the counts in the database, and that no trial has the values of another."""
    counts = {
        "runs": f"SELECT count(*) FROM runs WHERE experiment_id = {experiment}",
        "finished": f"SELECT count(*) FROM runs WHERE experiment_id = {experiment} AND status = 'FINISHED'",
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
    experiment, parent = log_all_at_once(tracker)
    tracker.flush_outbox()
    check(tracker, tracker.uri, experiment, parent)
    notes = sorted(path.read_text() for path in (tmp_path / "artifacts").rglob("note.txt"))
    assert notes == sorted(f"trial {number}" for number in range(TRIALS))
    assert not (tmp_path / "outbox").exists(), "a write found the database locked"
    assert capfd.readouterr().err == ""


@pytest.fixture
def postgresql() -> Iterator[str]:
    """The address of a fresh PostgreSQL."""
    with running_postgresql() as server:
        yield server.address


@pytest.fixture
def bucket() -> Iterator[tuple[str, Any]]:
    """An S3 server on the loopback interface: its address, and a client; its bucket is empty."""
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
    # A request of MLflow needs two connections: with few, all requests may hold one and wait for the other.
    environment = {**KEYS, "MLFLOW_S3_ENDPOINT_URL": address, "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "60"}
    with serving(Server(tmp_path, postgresql, f"s3://{BUCKET}/kept", environment)) as server:
        tracker = Tracker(server.address, outbox=tmp_path / "storage" / "outbox")
        capfd.readouterr()
        experiment, parent = log_all_at_once(tracker)
        tracker.flush_outbox()
        check(tracker, postgresql, experiment, parent)
        kept = s3.list_objects_v2(Bucket=BUCKET, Prefix="kept/")["Contents"]
        notes = sorted(s3.get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read().decode() for each in kept)
        assert notes == sorted(f"trial {number}" for number in range(TRIALS))
        assert not (tmp_path / "storage").exists(), "the server failed"
        # The starts of the trials and of the sweep; of each trial, parameters, epochs and a tag.
        assert server.requests("/runs/create") == TRIALS + 1
        assert server.requests("/runs/log-batch") == TRIALS * (1 + EPOCHS + 1)
        assert capfd.readouterr().err == ""
