"""What others do to a shared study and a shared MLflow while a sweep goes on: it waits, or ends with the way out.

The study is on a real PostgreSQL, which closes idle connections, is stopped and started.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from fgcme.errors import UnfinishedError, UserError
from fgcme.experiment import Experiment
from fgcme.tracking import Tracker
from fgcme.tracking.store import sqlite_lock
from pipelines import tune
from pipelines.sweep import study_storage
from tests.integration.conftest import Make, wait_for
from tests.postgresql import PostgreSQL, running_postgresql

pytestmark = [pytest.mark.integration, pytest.mark.survival, pytest.mark.usefixtures("ray_session")]

TRIALS, EPOCHS = 4, 3
SPACE = "parameters: {training.learning_rate: {float: [1.0e-3, 3.0e-2], log: true}}"


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgreSQL]:
    with running_postgresql() as server:
        yield server


@pytest.fixture
def space(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    # A study is called after its space: each test has its own.
    path = tmp_path / f"{request.node.name}.yaml"
    path.write_text(SPACE)
    return str(path)


def sweep(experiment: Make, postgresql: PostgreSQL) -> Experiment:
    settings = {"trials": TRIALS, "study_storage": postgresql.address}
    return experiment(training={"epochs": EPOCHS}, tune=settings, scaling={"max_concurrent": 1})


def ended(tmp_path: Path) -> list[Path]:
    """The last reports of trials that have ended."""
    return list((tmp_path / "storage" / "sweeps").glob("*/*/trials/*/last.json"))


def states(postgresql: PostgreSQL, space: str) -> list[TrialState]:
    study = optuna.load_study(study_name=f"small-{Path(space).stem}", storage=postgresql.address)
    return [trial.state for trial in study.trials]


def test_a_sweep_waits_while_the_database_is_away(
    experiment: Make,
    tracker: Tracker,
    postgresql: PostgreSQL,
    space: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def disturb() -> None:
        wait_for(lambda: ended(tmp_path))
        postgresql.close_connections()
        wait_for(lambda: len(ended(tmp_path)) > 1)
        postgresql.stop()
        time.sleep(8)
        postgresql.start()

    disturber = threading.Thread(target=disturb)
    disturber.start()
    tune.run(sweep(experiment, postgresql), space)
    disturber.join()
    trials = tracker.child_runs(tracker.find_run("latest").info.run_id)
    assert [trial.info.status for trial in trials] == ["FINISHED"] * TRIALS
    assert states(postgresql, space) == [TrialState.COMPLETE] * TRIALS
    captured = capfd.readouterr().err
    # More than once where a connection is closed in mid-call, or a database that starts refuses once more.
    assert captured.count("does not answer") == captured.count("answers again") > 0


def test_a_sweep_whose_database_stays_away_ends_in_one_line_and_is_resumed(
    experiment: Make,
    tracker: Tracker,
    postgresql: PostgreSQL,
    space: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def second_trial_is_in_its_last_epoch() -> bool:
        files = (tmp_path / "storage" / "sweeps").glob("*/*/trials/1/reports.jsonl")
        return any(file.read_text().count("{") >= EPOCHS - 1 for file in files)

    def disturb() -> None:
        wait_for(second_trial_is_in_its_last_epoch, every=0.01)
        # In the end of this trial, or in the beginning of the next one.
        postgresql.stop()

    monkeypatch.setattr(study_storage, "_PATIENCE_SECONDS", 2.0)
    made = sweep(experiment, postgresql)
    disturber = threading.Thread(target=disturb)
    disturber.start()
    with pytest.raises(UnfinishedError, match=r"^tune\.study_storage: postgresql.* does not answer \(.*\)$"):
        tune.run(made, space)
    disturber.join()
    before = {path.parent.name for path in ended(tmp_path)}
    postgresql.start()
    tune.run(made, space, resume=True)
    # Whatever the driver had not recorded of a trial, it goes on; whatever the database missed, it is told.
    trials = tracker.child_runs(tracker.find_run("latest").info.run_id)
    assert [trial.info.status for trial in trials] == ["FINISHED"] * TRIALS
    assert before < {path.parent.name for path in ended(tmp_path)} == {str(number) for number in range(TRIALS)}
    assert states(postgresql, space) == [TrialState.COMPLETE] * TRIALS


def test_a_sweep_whose_experiment_is_deleted_ends_with_the_way_back_and_is_resumed(
    experiment: Make, tracker: Tracker, space: str, tmp_path: Path
) -> None:
    made = experiment(training={"epochs": EPOCHS}, tune={"trials": TRIALS}, scaling={"max_concurrent": 1})
    mlflow_experiment = tracker.get_or_create_experiment(made.name)

    def delete() -> None:
        wait_for(lambda: ended(tmp_path))
        # As others write to this database, too.
        with sqlite_lock(tracker.uri):
            tracker.client.delete_experiment(mlflow_experiment)

    deleter = threading.Thread(target=delete)
    deleter.start()
    way_back = f"was deleted.*: .*`mlflow experiments restore --experiment-id {mlflow_experiment}`"
    with pytest.raises(UnfinishedError, match=way_back):
        tune.run(made, space)
    deleter.join()
    with pytest.raises(UserError, match=way_back):
        tune.run(made, space, resume=True)
    tracker.client.restore_experiment(mlflow_experiment)
    tune.run(made, space, resume=True)
    trials = tracker.child_runs(tracker.find_run("latest").info.run_id)
    # An end that came while the run was deleted is not recorded, as was said.
    assert len(trials) == TRIALS and {trial.info.status for trial in trials} <= {"FINISHED", "RUNNING"}
