"""A study on a real PostgreSQL, which closes idle connections, is stopped and started: the sweep waits and goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from fgcme.experiment import Experiment
from fgcme.tracking import Tracker
from pipelines import tune
from tests.integration.conftest import Make, wait_for
from tests.postgresql import PostgreSQL, running_postgresql

pytestmark = [pytest.mark.integration, pytest.mark.survival, pytest.mark.usefixtures("ray_session")]

TRIALS = 4
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
    return experiment(training={"epochs": 3}, tune=settings, scaling={"max_concurrent": 1})


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
