"""Sweeps on Ray Tune: what they try, what they leave in MLflow, what they write for `fgcme train`."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from fgcme.errors import UserError
from fgcme.experiment import Experiment, load
from fgcme.tracking import Tracker
from pipelines import train, tune
from tests.integration.conftest import Make, kill, program, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]

SPACE = """\
parameters:
  model.pooling.kind: {choice: [mean_max, mean, max]}
  training.learning_rate: {float: [1.0e-3, 3.0e-2], log: true}
first:
  - {model.pooling.kind: max, training.learning_rate: 0.01}
"""


@pytest.fixture
def space(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(SPACE)
    return str(path)


@pytest.fixture
def sweep(experiment: Make) -> Make:
    """Makes small experiments with a small sweep."""

    def make(**sections: dict[str, object]) -> Experiment:
        content: dict[str, dict[str, object]] = {
            "training": {"epochs": 6},
            "tune": {"trials": 4, "grace_epochs": 2, "folds": [0, 2]},
        }
        return experiment(**(content | sections))

    return make


def test_a_sweep_records_every_trial_and_writes_an_experiment_that_trains(
    sweep: Make, tracker: Tracker, space: str
) -> None:
    best = tune.run(sweep(), space)
    found = tracker.find("latest")
    trials = tracker.children(found.info.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.tags["fgcme.kind"] == "sweep"
    assert len(trials) == 4
    assert all(trial.info.status == "FINISHED" for trial in trials)
    # What the experiment has already and the configuration to try first are tried, and no trial sees a test part.
    own = ("mean_max", "0.01")
    assert {own, ("max", "0.01")} <= {
        (trial.data.params["model.pooling.kind"], trial.data.params["training.learning_rate"]) for trial in trials
    }
    assert not any(name.startswith("test/") for trial in trials for name in trial.data.metrics)
    objectives = [max(value for _, value in tracker.history(trial.info.run_id, "dev/objective")) for trial in trials]
    assert found.data.metrics["dev/best_score"] == pytest.approx(max(objectives))
    # What was tuned on is remembered: the dev speakers of folds 0 and 2 are test speakers of folds 1 and 3.
    tuned = load(best)
    assert len(tuned.protocol.tuned_on) == 4
    run = train.run(tuned)
    assert tracker.find(run).data.tags["fgcme.tuned_on"] == ", ".join(tuned.protocol.tuned_on)


def test_a_bad_trial_is_stopped_before_its_last_epoch(sweep: Make, tracker: Tracker, tmp_path: Path) -> None:
    path = tmp_path / "rates.yaml"
    path.write_text(
        "parameters:\n  training.learning_rate: {float: [1.0e-7, 3.0e-2], log: true}\n"
        "first: [{training.learning_rate: 0.02}, {training.learning_rate: 1.0e-7}]\n"
    )
    tune.run(sweep(tune={"trials": 4, "grace_epochs": 1, "reduction": 2}), str(path))
    trials = tracker.children(tracker.find("latest").info.run_id)
    epochs = [max(step for step, _ in tracker.history(trial.info.run_id, "dev/objective")) for trial in trials]
    assert max(epochs) == 6
    assert min(epochs) < 6


def test_the_same_seed_tries_the_same_configurations(sweep: Make, tracker: Tracker, space: str) -> None:
    def tried() -> list[tuple[str, str]]:
        tune.run(sweep(training={"epochs": 1}, scaling={"parallel": 1}), space)
        trials = tracker.children(tracker.find("latest").info.run_id)
        return [
            (trial.data.params["model.pooling.kind"], trial.data.params["training.learning_rate"]) for trial in trials
        ]

    assert tried() == tried()


@pytest.mark.parametrize(
    ("sections", "text", "sentence"),
    [
        ({}, SPACE.replace("pooling", "poling"), "did you mean model.pooling"),
        ({"tune": {"folds": [7]}}, SPACE, "fold 7 does not exist"),
        ({"scaling": {"workers": 3}}, SPACE, "one process"),
    ],
)
def test_what_cannot_work_is_refused_before_any_trial_starts(
    sweep: Make, tracker: Tracker, tmp_path: Path, sections: dict, text: str, sentence: str
) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=sentence):
        tune.run(sweep(**sections), str(path))
    assert not list(Path(tmp_path / "storage" / "sweeps").glob("*/*/runs/*"))


def test_resuming_without_a_sweep_is_refused(sweep: Make, tracker: Tracker, space: str) -> None:
    with pytest.raises(UserError, match="no sweep to resume"):
        tune.run(sweep(), space, resume=True)


def test_a_killed_sweep_is_completed_by_resume(
    sweep: Make, tracker: Tracker, space: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slow = sweep(training={"epochs": 4, "batch_size": 1}, tune={"trials": 6, "grace_epochs": 4})
    path = tmp_path / "experiment.yaml"
    path.write_text(slow.to_yaml())
    with program(tmp_path, "tune", str(path), "--space", space) as driver:
        assert driver.stdout is not None
        assert any("[2/6]" in line for line in driver.stdout)
        kill(driver)
    with pytest.raises(UserError, match=r"tune\.trials \(6 then, 7 now\)"):
        tune.run(
            sweep(training={"epochs": 4, "batch_size": 1}, tune={"trials": 7, "grace_epochs": 4}), space, resume=True
        )
    tune.run(slow, space, resume=True)
    found = tracker.find("latest")
    trials = tracker.children(found.info.run_id)
    assert found.info.status == "FINISHED"
    assert len(trials) == 6
    assert {trial.info.status for trial in trials} == {"FINISHED"}
    assert all(max(step for step, _ in tracker.history(trial.info.run_id, "dev/objective")) == 4 for trial in trials)
    # It goes on counting where it was, and knows the best so far.
    printed = capsys.readouterr().out
    assert "[1/6]" not in printed
    assert "[6/6]" in printed


def test_an_interrupted_sweep_leaves_no_run_running(sweep: Make, tracker: Tracker, space: str, tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_text(sweep(training={"epochs": 100, "batch_size": 1}, tune={"trials": 4, "grace_epochs": 100}).to_yaml())

    def begun() -> str | None:
        """The sweep, once a trial of it has logged an epoch."""
        try:
            run = tracker.find("latest").info.run_id
        except UserError:
            return None
        trials = tracker.children(run)
        return run if any(tracker.history(trial.info.run_id, "dev/objective") for trial in trials) else None

    with program(tmp_path, "tune", str(path), "--space", space) as driver:
        run = wait_for(begun)
        driver.send_signal(signal.SIGINT)
        assert driver.wait(timeout=60) == 130
        assert driver.stderr is not None
        assert "go on with --resume" in driver.stderr.read()
    assert tracker.find(run).info.status == "KILLED"
    assert {trial.info.status for trial in tracker.children(run)} == {"KILLED"}
