"""Addresses of stores, and stores that are there, missing, silent or broken."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from sqlalchemy import make_url

from fgcme.errors import UserError
from fgcme.tracking import prepare_store, require_store, resolve_uri, retrying, sqlite_path
from fgcme.tracking.store import call_store, mlflow_client, query_store, sqlite_lock, why_unavailable
from tests.store import make_tracker

PROCESSES = multiprocessing.get_context("fork")


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine on which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        yield silent.getsockname()[1]


def test_a_server_has_one_address_with_and_without_a_slash_at_its_end() -> None:
    assert (
        resolve_uri("http://host:5000/mlflow/") == resolve_uri("http://host:5000/mlflow") == "http://host:5000/mlflow"
    )


@pytest.mark.parametrize("folder", ["my%20project", "a?b", "100%25", "\u043f\u0440\u043e\u0435\u043a\u0442", "a#b c"])
def test_a_database_lies_in_its_folder_whatever_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path / folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    address = resolve_uri(None)
    assert sqlite_path(address) == tmp_path / folder / "mlflow.db" and resolve_uri(address) == address
    # What MLflow opens, by SQLAlchemy's reading of addresses.
    with contextlib.closing(sqlite3.connect(str(make_url(address).database))):
        pass
    assert sqlite_path(address) == Path(str(make_url(address).database))


def test_the_home_folder_may_stand_in_the_address_of_a_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert resolve_uri("sqlite:///~/m.db?timeout=3") == "sqlite:////home/me/m.db?timeout=3"


def test_passwords_stay_out_of_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve_uri("http://me:sec/ret@host:5000/") == "http://me:...@host:5000"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://me:secret@host/runs")
    assert resolve_uri(None) == "postgresql://me:...@host/runs"


def test_a_new_password_makes_a_new_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_AUTH", "")
    clients = [mlflow_client(resolve_uri(f"http://me:{password}@host:5000")) for password in ("old", "new", "new")]
    assert clients[0] is not clients[1] is clients[2]
    assert {client.tracking_uri for client in clients} == {"http://host:5000"}


def test_the_setting_comes_before_the_environment_and_that_before_a_local_database(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://from.environment:5000")
    assert resolve_uri("http://from.setting:5000/base") == "http://from.setting:5000/base"
    assert resolve_uri(None) == "http://from.environment:5000"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert resolve_uri(None) == f"sqlite:///{tmp_path}/mlflow.db"


def test_a_relative_database_becomes_absolute_and_keeps_its_options(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_uri("sqlite:///runs/x.db?timeout=9") == f"sqlite:///{tmp_path}/runs/x.db?timeout=9"


@pytest.mark.parametrize(
    "uri", ["sqlite:////data/x.db", "sqlite:///:memory:", "postgresql://host/mlflow", "databricks"]
)
def test_other_addresses_stay_as_they_are(uri: str) -> None:
    assert resolve_uri(uri) == uri


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("sqlite:////data/x.db", Path("/data/x.db")),
        ("sqlite:////data/x.db?timeout=9", Path("/data/x.db")),
        ("sqlite:///:memory:", None),
        ("sqlite:///", None),
        ("http://127.0.0.1:5000", None),
    ],
)
def test_only_a_sqlite_database_on_disk_has_a_path(uri: str, path: Path | None) -> None:
    assert sqlite_path(uri) == path


def test_one_process_at_a_time_holds_the_lock_of_a_database(tmp_path: Path) -> None:
    log = tmp_path / "log"

    def write(name: str) -> None:
        with sqlite_lock(f"sqlite:///{tmp_path}/mlflow.db"), log.open("a") as file:
            for _ in range(5):
                file.write(f"{name}\n")
                file.flush()
                time.sleep(0.02)

    writers = [PROCESSES.Process(target=write, args=(name,)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=60)
    assert log.read_text().split() in (["a"] * 5 + ["b"] * 5, ["b"] * 5 + ["a"] * 5)


def test_other_stores_need_no_lock() -> None:
    with sqlite_lock("http://127.0.0.1:5000"), sqlite_lock("http://127.0.0.1:5000"):
        pass


def test_the_database_is_created_once_by_many_drivers_that_start_together(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    drivers = [PROCESSES.Process(target=prepare_store, args=(uri,)) for _ in range(4)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join(timeout=120)
    assert [driver.exitcode for driver in drivers] == [0] * 4
    with contextlib.closing(sqlite3.connect(tmp_path / "new" / "mlflow.db")) as database:
        assert database.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
    assert capfd.readouterr().err == "", "MLflow prints messages about its tables"


def test_a_database_that_cannot_be_created_is_one_clear_line() -> None:
    with pytest.raises(UserError, match=r"/dev/null/mlflow\.db: the database cannot be made here .*set tracking\.uri"):
        prepare_store("sqlite:////dev/null/mlflow.db")


def test_reading_where_nothing_is_recorded_creates_no_database(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no MLflow database here.*MLFLOW_TRACKING_URI"):
        require_store(f"sqlite:///{tmp_path}/mlflow.db")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database, " * 100)
    with pytest.raises(UserError, match="cannot be used as an MLflow store") as refusal:
        require_store(f"sqlite:///{tmp_path}/mlflow.db")
    assert "\n" not in str(refusal.value)


def test_a_server_that_is_not_there_is_one_clear_line(closed_port: int) -> None:
    address = f"http://127.0.0.1:{closed_port}"
    sentence = rf"^{address}: the MLflow server does not answer \(connection refused\)"
    with pytest.raises(UserError, match=sentence):
        prepare_store(address)
    with pytest.raises(UserError, match=sentence):
        require_store(address)


def test_a_server_that_is_silent_is_given_up_within_seconds(silent_port: int) -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match=r"does not answer \(no answer in time\)"):
        prepare_store(f"http://127.0.0.1:{silent_port}")
    # MLflow itself would try for minutes.
    assert time.monotonic() - started < 60


def test_a_store_that_answers_is_available(tmp_path: Path) -> None:
    uri = make_tracker(tmp_path).uri
    assert why_unavailable(uri) is None
    require_store(uri)


def test_a_process_has_one_client_of_a_store(tmp_path: Path) -> None:
    uri = make_tracker(tmp_path).uri
    assert mlflow_client(uri) is mlflow_client(uri)


def test_a_query_is_retried_and_a_call_is_not(tmp_path: Path) -> None:
    uri = make_tracker(tmp_path).uri
    attempts = 0

    def fail_once() -> str:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise ConnectionError("[Errno 104] Connection reset by peer")
        return "answer"

    assert query_store(uri, fail_once) == "answer"
    attempts = 0
    with pytest.raises(UserError, match=r"cannot be used as an MLflow store \(connection reset by peer\)"):
        call_store(uri, fail_once)
    assert attempts == 1


def test_what_the_store_refuses_is_raised_as_it_is(tmp_path: Path) -> None:
    tracker = make_tracker(tmp_path)
    with pytest.raises(MlflowException, match="not found"):
        query_store(tracker.uri, lambda: tracker.client.get_run("0" * 32))


def test_a_long_call_is_given_up_once_the_server_is_silent(silent_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "PATIENCE_SECONDS", 0.3)
    started = time.monotonic()
    with pytest.raises(UserError, match="does not answer"):
        call_store(f"http://127.0.0.1:{silent_port}", lambda: time.sleep(60))
    assert time.monotonic() - started < 50


def test_importing_tracking_imports_neither_mlflow_nor_ray() -> None:
    code = "import sys, fgcme.tracking; sys.exit(bool({'mlflow', 'ray', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_mlflow_sends_no_statistics() -> None:
    mlflow_client("sqlite:///:memory:")
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
