"""The database of a shared study: waited for, given up in one line, and never written with its password."""

from __future__ import annotations

import pickle
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from fgcme.addresses import hide
from fgcme.errors import UnfinishedError
from pipelines.sweep import study_storage
from pipelines.sweep.study_storage import StudyStorage, require_answering


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study.db"


@pytest.fixture
def storage(path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyStorage:
    monkeypatch.setattr(study_storage, "_PAUSE_SECONDS", 0.05)
    # A database that another process has locked is away at once.
    return StudyStorage(f"sqlite:///{path}?timeout=0.05")


@pytest.fixture
def study(storage: StudyStorage) -> optuna.Study:
    return optuna.create_study(storage=storage, study_name="shared")


@pytest.fixture
def lock(path: Path, study: optuna.Study) -> Iterator[sqlite3.Connection]:
    """Keeps everybody else out of the database, until it is closed."""
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield connection


def test_a_call_waits_while_the_database_is_away_and_says_so(
    study: optuna.Study, lock: sqlite3.Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    threading.Timer(1.0, lock.close).start()
    trial = study.ask()
    study.tell(trial, 0.5)
    assert [(each.number, each.state) for each in study.trials] == [(0, TrialState.COMPLETE)]
    first, second = capsys.readouterr().err.splitlines()
    assert "study.db?timeout=0.05 does not answer (database is locked); the sweep waits up to 10 minutes" in first
    assert second.endswith("study.db?timeout=0.05 answers again")


def test_a_database_that_stays_away_ends_the_sweep_in_one_line(
    study: optuna.Study, path: Path, lock: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_storage, "_PATIENCE_SECONDS", 0.2)
    with pytest.raises(UnfinishedError, match=r"^tune\.study_storage: .* does not answer \(database is locked\)$"):
        study.ask()
    # Ray Tune may have dropped that error: whatever is asked next fails at once, though the database is back.
    lock.close()
    with pytest.raises(UnfinishedError, match="does not answer"):
        study.trials  # noqa: B018
    address = f"sqlite:///{path}?timeout=0.05"
    with pytest.raises(UnfinishedError, match="does not answer"):
        require_answering(address)
    assert optuna.load_study(storage=StudyStorage(address), study_name="shared").trials == []
    require_answering(address)


def test_a_call_that_fails_at_any_time_is_not_repeated(storage: StudyStorage, path: Path) -> None:
    attempts = 0

    def ask_without_a_parameter() -> None:
        nonlocal attempts
        attempts += 1
        with sqlalchemy.create_engine(f"sqlite:///{path}").connect() as connection:
            connection.execute(sqlalchemy.text("SELECT :number"))

    with pytest.raises(UnfinishedError, match=r"does not answer \(A value is required for bind parameter 'number'"):
        storage.wait(ask_without_a_parameter)
    assert attempts == 1


def test_the_end_of_a_trial_counts_even_if_only_its_reply_was_lost(
    storage: StudyStorage, study: optuna.Study, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = study.ask()
    attempts = 0

    def end() -> bool:
        nonlocal attempts
        attempts += 1
        result = super(StudyStorage, storage).set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [0.5])
        if attempts == 1:
            raise sqlite_error
        return result

    sqlite_error = study_storage.OperationalError("COMMIT", {}, sqlite3.OperationalError("connection lost"))
    assert storage.wait(end) is True and attempts == 2
    with pytest.raises(optuna.exceptions.UpdateFinishedTrialError):
        storage.set_trial_state_values(trial._trial_id, TrialState.COMPLETE, [0.25])
    assert study.trials[0].value == 0.5


def test_every_call_of_optuna_waits() -> None:
    for name in BaseStorage.__abstractmethods__:
        assert getattr(StudyStorage, name) is not getattr(optuna.storages._CachedStorage, name)
        assert "wait" in getattr(StudyStorage, name).__code__.co_names


def test_a_pickle_connects_again_and_holds_no_password(path: Path, study: optuna.Study) -> None:
    # SQLite passes over parameters that it does not know.
    storage = StudyStorage(hide(f"sqlite:///file:{path}?uri=true&password=sec/ret"))
    written = pickle.dumps(storage)
    assert b"password=..." in written and b"sec" not in written
    copy: StudyStorage = pickle.loads(written)
    assert optuna.load_study(storage=copy, study_name="shared").trials == study.trials
