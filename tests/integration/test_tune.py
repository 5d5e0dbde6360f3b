"""Sweeps on Ray Tune: what they try, what they leave in MLflow, what they write for `fgcme train`."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from fgcme.errors import UserError
from fgcme.experiment import Experiment, load_experiment
from fgcme.tracking import Tracker
from pipelines import train, tune
from pipelines.sweep.plan import preview
from tests.integration.conftest import Make

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]

RATE = "training.learning_rate"
SPACE = """\
parameters:
  model.pooling.kind: {choice: [mean_max, mean, max]}
  training.learning_rate: {float: [1.0e-3, 3.0e-2], log: true}
initial_trials:
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
            "tune": {"trials": 4, "grace_period": 2, "folds": [0, 2]},
            # Starting a second process takes longer than all that it would train.
            "scaling": {"max_concurrent": 1},
        }
        return experiment(**(content | sections))

    return make


def test_a_sweep_records_every_trial_and_writes_an_experiment_that_trains(
    sweep: Make, tracker: Tracker, space: str
) -> None:
    best = tune.run(sweep(), space)
    found = tracker.find_run("latest")
    trials = tracker.child_runs(found.info.run_id)
    assert found.info.status == "FINISHED"
    assert found.data.tags["fgcme.kind"] == "sweep"
    assert len(trials) == 4
    assert all(trial.info.status == "FINISHED" for trial in trials)
    # The experiment's own settings and the space's initial trial are tried, and no trial sees a test part.
    own = ("mean_max", "0.01")
    assert {own, ("max", "0.01")} <= {
        (trial.data.params["model.pooling.kind"], trial.data.params["training.learning_rate"]) for trial in trials
    }
    assert not any(name.startswith("test/") for trial in trials for name in trial.data.metrics)
    objectives = [
        max(value for _, value in tracker.metric_history(trial.info.run_id, "dev/objective")) for trial in trials
    ]
    assert found.data.metrics["dev/best_score"] == pytest.approx(max(objectives))
    # The dev speakers of folds 0 and 2 are test speakers of folds 1 and 3.
    tuned = load_experiment(best)
    assert len(tuned.protocol.tuned_on) == 4
    run = train.run(tuned, folds=[0])
    assert tracker.find_run(run).data.tags["fgcme.tuned_on"] == ", ".join(tuned.protocol.tuned_on)


def test_a_bad_trial_is_stopped_before_its_last_epoch(sweep: Make, tracker: Tracker, tmp_path: Path) -> None:
    path = tmp_path / "rates.yaml"
    path.write_text(
        "parameters:\n  training.learning_rate: {float: [1.0e-7, 3.0e-2], log: true}\n"
        "initial_trials: [{training.learning_rate: 0.02}, {training.learning_rate: 1.0e-7}]\n"
    )
    tune.run(sweep(tune={"trials": 4, "grace_period": 1, "reduction_factor": 2}), str(path))
    trials = tracker.child_runs(tracker.find_run("latest").info.run_id)
    epochs = [max(step for step, _ in tracker.metric_history(trial.info.run_id, "dev/objective")) for trial in trials]
    assert max(epochs) == 6
    assert min(epochs) < 6


@pytest.mark.parametrize(
    ("sections", "text", "sentence"),
    [
        ({}, SPACE.replace("pooling", "poling"), "did you mean model.pooling"),
        ({"tune": {"folds": [7]}}, SPACE, "fold 7 does not exist"),
        ({"scaling": {"workers": 3}}, SPACE, "one trial needs 3 CPUs at once and Ray has"),
        ({"tune": {"search": "grid"}}, SPACE, r"training\.learning_rate has no grid"),
        (
            {"tune": {"search": "random", "scheduler": "pbt"}},
            SPACE,
            r"model\.pooling\.kind cannot change during a training",
        ),
        (
            {"tune": {"study_storage": "nosuch://database"}},
            SPACE,
            r"tune\.study_storage: nosuch://database cannot be used",
        ),
    ],
)
def test_an_impossible_sweep_is_refused_before_any_trial_starts(
    sweep: Make, tracker: Tracker, tmp_path: Path, sections: dict, text: str, sentence: str
) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=sentence):
        tune.run(sweep(**sections), str(path))
    with pytest.raises(UserError, match="no runs are recorded"):
        tracker.find_run("latest")


def test_resuming_without_a_sweep_is_refused(sweep: Make, tracker: Tracker, space: str) -> None:
    with pytest.raises(UserError, match="no sweep to resume"):
        tune.run(sweep(), space, resume=True)


def tried(tracker: Tracker, run: str) -> dict[str, dict[str, str]]:
    """What each trial of a sweep drew, by its number."""
    return {
        trial.data.tags["fgcme.trial"]: {name: trial.data.params[name] for name in ("model.pooling.kind", RATE)}
        for trial in tracker.child_runs(run)
    }


@pytest.mark.parametrize(
    ("search", "scheduler"), [("random", "median"), ("cmaes", "hyperband"), ("tpe", "none"), ("grid", "asha")]
)
def test_each_way_of_searching_gives_every_trial_an_end(
    sweep: Make, tracker: Tracker, tmp_path: Path, search: str, scheduler: str
) -> None:
    path = tmp_path / "steps.yaml"
    path.write_text(
        "parameters:\n"
        "  model.pooling.kind: {choice: [mean, lse]}\n"
        "  model.pooling.temperature: {float: [0.5, 1.5], step: 0.5, when: {model.pooling.kind: [lse]}}\n"
    )
    tune.run(
        sweep(training={"epochs": 2}, tune={"trials": 4, "search": search, "scheduler": scheduler, "folds": [0]}),
        str(path),
    )
    trials = tracker.child_runs(tracker.find_run("latest").info.run_id)
    assert {trial.info.status for trial in trials} == {"FINISHED"}
    drawn = [
        trial.data.params["model.pooling.kind"] + trial.data.params["model.pooling.temperature"] for trial in trials
    ]
    # The grid has `mean` without a temperature, and `lse` with three.
    assert len(trials) == 4
    assert search != "grid" or sorted(drawn) == ["lse0.5", "lse1.0", "lse1.5", "mean1.0"]


def test_two_objectives_give_every_trial_a_cost_and_stop_none(
    sweep: Make, tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sizes.yaml"
    path.write_text("parameters:\n  model.fusion.hidden: {int: [2, 16], step: 2}\n")
    settings = {"trials": 6, "search": "nsga2", "cost": "parameters", "folds": [0]}
    tune.run(sweep(training={"epochs": 2}, tune=settings), str(path))
    found = tracker.find_run("latest")
    assert found.data.tags["fgcme.cost"] == "parameters"
    costs = {
        int(trial.data.params["model.fusion.hidden"]): trial.data.metrics["cost"]
        for trial in tracker.child_runs(found.info.run_id)
    }
    assert sorted(costs, key=lambda hidden: costs[hidden]) == sorted(costs)
    assert "Pareto front (dev score, then cost in parameters)" in capsys.readouterr().out


@pytest.mark.slow
def test_population_based_training_changes_trials_as_they_run(sweep: Make, tracker: Tracker, tmp_path: Path) -> None:
    path = tmp_path / "rates.yaml"
    path.write_text("parameters:\n  training.learning_rate: {float: [1.0e-6, 3.0e-2], log: true}\n")
    # The seed draws three rates far too low, so those members copy the one with the experiment's own.
    settings = {"trials": 4, "search": "random", "scheduler": "pbt", "grace_period": 2, "folds": [0], "seed": 2}
    # The members of a population take turns on all CPUs.
    best = tune.run(sweep(training={"epochs": 8}, tune=settings, scaling={"max_concurrent": None}), str(path))
    trials = tracker.child_runs(tracker.find_run("latest").info.run_id)
    assert {trial.info.status for trial in trials} == {"FINISHED"} and len(trials) == 4
    # A bad member becomes a varied copy of a good one; its run records both rates.
    rates = [{value for _, value in tracker.metric_history(trial.info.run_id, RATE)} for trial in trials]
    assert any(len(each) > 1 for each in rates)
    assert all(1e-6 <= rate <= 3e-2 for each in rates for rate in each)
    assert load_experiment(best).training.learning_rate > 1e-4


@pytest.mark.slow
def test_trials_of_two_workers_each_train_by_ray_train(sweep: Make, tracker: Tracker, space: str) -> None:
    # One trial takes all CPUs, and the other waits for it.
    tune.run(sweep(training={"epochs": 2}, tune={"trials": 2, "folds": [0]}, scaling={"workers": 2}), space)
    trials = tracker.child_runs(tracker.find_run("latest").info.run_id)
    assert {trial.info.status for trial in trials} == {"FINISHED"} and len(trials) == 2
    assert all(len(tracker.metric_history(trial.info.run_id, "dev/objective")) == 2 for trial in trials)


@pytest.mark.slow
def test_sweeps_share_a_study_of_the_same_things(sweep: Make, tracker: Tracker, space: str, tmp_path: Path) -> None:
    study = f"sqlite:///{tmp_path}/study.db"

    def settings(epochs: int) -> dict[str, dict[str, object]]:
        return {"training": {"epochs": epochs}, "tune": {"trials": 2, "study_storage": study}}

    for _ in range(2):
        tune.run(sweep(**settings(1)), space)
    [summary] = optuna.get_all_study_summaries(study)
    assert (summary.study_name, summary.n_trials) == ("small-small", 4)
    known = optuna.load_study(study_name="small-small", storage=study)
    assert {trial.state for trial in known.trials} == {optuna.trial.TrialState.COMPLETE}
    # The second driver continues the numbers, and does not repeat the first one's trials.
    assert set(tried(tracker, tracker.find_run("latest").info.run_id)) == {"2", "3"}
    with pytest.raises(UserError, match="has a study small-small of another space, corpus or experiment"):
        tune.run(sweep(**settings(2)), space)


def test_a_preview_says_what_a_sweep_would_take_and_starts_nothing(
    sweep: Make, tracker: Tracker, space: str, capsys: pytest.CaptureFixture[str]
) -> None:
    preview(sweep(), space)
    printed = capsys.readouterr().out
    assert "4 trials on the dev part of fold(s) 0, 2" in printed
    assert "each trial takes 1 CPUs and 0 GPUs" in printed
    assert "if every trial ends after 2 epochs" in printed
    with pytest.raises(UserError, match="no runs are recorded"):
        tracker.find_run("latest")
