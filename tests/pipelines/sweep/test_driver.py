"""How a driver prepares Ray Tune for a sweep, and what it does with the trials that a killed driver left."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from fgcme.errors import UnfinishedError
from pipelines.sweep import driver, study_storage
from pipelines.sweep.plan import SweepPlan, join_study
from pipelines.sweep.trial_folder import FAILURE, TrialFolder
from tests.pipelines.sweep.conftest import MakePlan
from tests.store import make_tracker

POPULATION = {"search": "random", "scheduler": "pbt"}


def test_members_of_a_population_take_turns_and_other_trials_wait_for_a_slot(make_plan: MakePlan) -> None:
    assert driver.max_concurrent_trials(make_plan(tune=POPULATION), slots=2) is None
    assert driver.max_concurrent_trials(make_plan(), slots=2) == 2


@pytest.mark.parametrize(("grace_period", "least"), [(1, 2), (2, 4), (50, 6)])
def test_a_checkpoint_of_a_population_is_kept_until_its_copier_has_read_it(
    make_plan: MakePlan, grace_period: int, least: int
) -> None:
    # The copy is up to one interval old, and is read within another; no interval is longer than a training.
    plan = make_plan(tune={**POPULATION, "grace_period": grace_period}, training={"epochs": 3})
    assert least < driver.checkpoints_to_keep(plan) <= 3 * (3 + 1)


def test_the_workers_of_a_trial_share_its_gpus(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(scaling={"workers": 2, "gpus_per_trial": 4})
    assert driver.trial_context(plan, tmp_path).experiment.scaling.gpus_per_worker == 2


def sharing_sweep(make_plan: MakePlan, folder: Path) -> tuple[SweepPlan, Path, BaseStorage]:
    """The plan of a sweep whose study drivers share, the sweep's folder, and the study's storage."""
    plan = make_plan(tune={"study_storage": f"sqlite:///{folder}/study.db"})
    storage = join_study(plan, resuming=False)
    assert storage is not None
    return plan, folder / "sweep", storage


def test_a_trial_that_a_killed_driver_did_not_record_is_proposed_again_with_its_number(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    plan, sweep, storage = sharing_sweep(make_plan, tmp_path)
    killed: Any = driver.make_proposer(plan, sweep, storage)
    drawn = killed.suggest("forgotten")
    resumed: Any = driver.make_proposer(plan, sweep, storage)
    again = resumed.suggest("again")
    assert (again["training.learning_rate"], again["number"]) == (drawn["training.learning_rate"], 0)
    assert resumed.suggest("another")["number"] == 1


def test_the_result_of_a_trial_that_ended_while_the_database_was_away_is_told(
    make_plan: MakePlan, tmp_path: Path
) -> None:
    plan, sweep, storage = sharing_sweep(make_plan, tmp_path)
    proposer: Any = driver.make_proposer(plan, sweep, storage)
    for trial, report in enumerate([{"objective": 0.75, "epoch": 3}, {}, None]):
        proposer.suggest(str(trial))
        folder = TrialFolder(sweep / "trials" / str(trial))
        folder.path.mkdir(parents=True)
        if report is not None:
            folder.end(report)
    driver.tell_results(plan, sweep, storage)
    states = [(trial.state, trial.value) for trial in optuna.load_study(storage=storage, study_name=plan.title).trials]
    assert states == [(TrialState.COMPLETE, 0.75), *[(TrialState.RUNNING, None)] * 2]


def test_a_database_that_stayed_away_ends_the_sweep_though_ray_tune_has_dropped_the_error(
    make_plan: MakePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_storage, "_PATIENCE_SECONDS", 0.1)
    # A database that another process has locked is away at once.
    plan = make_plan(tune={"study_storage": f"sqlite:///{tmp_path}/study.db?timeout=0.05"})
    storage = join_study(plan, resuming=False)
    assert storage is not None

    class Tuner:
        def fit(self) -> list[Any]:
            with closing(sqlite3.connect(tmp_path / "study.db", isolation_level=None)) as lock:
                lock.execute("BEGIN EXCLUSIVE")
                with suppress(UnfinishedError):
                    storage.get_all_studies()
            return []

    tuner: Any = Tuner()
    with pytest.raises(UnfinishedError, match=r"^tune\.study_storage: .* does not answer \(database is locked\)$"):
        driver.run_trials(plan, tuner, tmp_path / "sweep", make_tracker(tmp_path))


def test_runs_of_unfinished_trials_are_ended_as_killed_and_counted(tmp_path: Path) -> None:
    tracker = make_tracker(tmp_path)
    experiment, runs = tracker.get_or_create_experiment("small"), []
    for name, is_open in (("0", True), ("1", False), ("2", True)):
        folder = TrialFolder(tmp_path / "trials" / name)
        folder.path.mkdir(parents=True)
        runs.append(tracker.create_run(experiment, f"trial {name}"))
        folder.run_id_file.write_text(runs[-1])
        if is_open:
            folder.run_open_marker.touch()
    assert driver.end_open_runs(tracker, tmp_path / "trials") == 2
    assert [tracker.find_run(run).info.status for run in runs] == ["KILLED", "RUNNING", "KILLED"]
    assert driver.end_open_runs(tracker, tmp_path / "trials") == 0


def test_failures_are_read_from_the_trials_last_reports(tmp_path: Path) -> None:
    for name, report in {"0": {"epoch": 3}, "1": {FAILURE: "out of memory"}, "2": None}.items():
        (tmp_path / name).mkdir()
        if report is not None:
            TrialFolder(tmp_path / name).last_report.write_text(json.dumps(report))
    assert driver.reported_failures(tmp_path) == {"1": "out of memory"}
    assert driver.reported_failures(tmp_path / "missing") == {}


def test_more_failures_than_allowed_end_the_sweep_and_name_the_setting_to_resume_with() -> None:
    driver.require_few_failures(["diverged"], 1)
    with pytest.raises(
        UnfinishedError, match=r"2 trials failed, more than tune\.max_failures=1 \(the last: hung\)"
    ) as error:
        driver.require_few_failures(["diverged", "hung"], 1)
    assert error.value.settings == ("tune.max_failures=2",)
