"""Sweeps on Ray Tune: what they try, what they leave in MLflow, what they write for `fgcme train`."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fgcme.errors import UserError
from fgcme.experiment import Experiment, load
from fgcme.tracking import Tracker
from pipelines import train, tune
from tests import small_corpus
from tests.store import make_tracker

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]

SPACE = """\
parameters:
  model.pooling.kind: {choice: [mean_max, mean, max]}
  training.learning_rate: {float: [1.0e-3, 3.0e-2], log: true}
first:
  - {model.pooling.kind: max, training.learning_rate: 0.01}
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield small_corpus.write(tmp_path_factory.mktemp("prepared") / "corpus", each=16)


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    return make_tracker(tmp_path)


@pytest.fixture
def space(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(SPACE)
    return str(path)


def experiment(prepared: Path, tracker: Tracker, **sections: dict[str, object]) -> Experiment:
    folder = Path(tracker.uri.removeprefix("sqlite:///")).parent
    content = {"training": {"epochs": 6}, "tune": {"trials": 4, "grace_epochs": 2, "folds": [0, 2]}} | sections
    return small_corpus.experiment(
        prepare={"folder": str(prepared)},
        storage={"path": str(folder / "storage")},
        tracking={"uri": tracker.uri},
        **content,
    )


def test_a_sweep_records_every_trial_and_writes_an_experiment_that_trains(
    prepared: Path, tracker: Tracker, space: str
) -> None:
    best = tune.run(experiment(prepared, tracker), space)
    sweep = tracker.find("latest")
    trials = tracker.children(sweep.info.run_id)
    assert sweep.info.status == "FINISHED"
    assert sweep.data.tags["fgcme.kind"] == "sweep"
    assert len(trials) == 4
    assert all(trial.info.status == "FINISHED" for trial in trials)
    # What the experiment has already and the configuration to try first are tried, and no trial sees a test part.
    own = ("mean_max", "0.01")
    assert {own, ("max", "0.01")} <= {
        (trial.data.params["model.pooling.kind"], trial.data.params["training.learning_rate"]) for trial in trials
    }
    assert not any(name.startswith("test/") for trial in trials for name in trial.data.metrics)
    objectives = [max(value for _, value in tracker.history(trial.info.run_id, "dev/objective")) for trial in trials]
    assert sweep.data.metrics["dev/best_score"] == pytest.approx(max(objectives))
    # What was tuned on is remembered: the dev speakers of folds 0 and 2 are test speakers of folds 1 and 3.
    tuned = load(best)
    assert len(tuned.protocol.tuned_on) == 4
    run = train.run(tuned)
    assert tracker.find(run).data.tags["fgcme.tuned_on"] == ", ".join(tuned.protocol.tuned_on)


def test_a_bad_trial_is_stopped_before_its_last_epoch(prepared: Path, tracker: Tracker, tmp_path: Path) -> None:
    path = tmp_path / "rates.yaml"
    path.write_text(
        "parameters:\n  training.learning_rate: {float: [1.0e-7, 3.0e-2], log: true}\n"
        "first: [{training.learning_rate: 0.02}, {training.learning_rate: 1.0e-7}]\n"
    )
    tune.run(experiment(prepared, tracker, tune={"trials": 4, "grace_epochs": 1, "reduction": 2}), str(path))
    trials = tracker.children(tracker.find("latest").info.run_id)
    epochs = [max(step for step, _ in tracker.history(trial.info.run_id, "dev/objective")) for trial in trials]
    assert max(epochs) == 6
    assert min(epochs) < 6


def test_the_same_seed_tries_the_same_configurations(prepared: Path, tracker: Tracker, space: str) -> None:
    def tried() -> list[tuple[str, str]]:
        tune.run(experiment(prepared, tracker, training={"epochs": 1}, scaling={"parallel": 1}), space)
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
    prepared: Path, tracker: Tracker, tmp_path: Path, sections: dict, text: str, sentence: str
) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=sentence):
        tune.run(experiment(prepared, tracker, **sections), str(path))
    assert not list(Path(tmp_path / "storage" / "sweeps").glob("*/*/runs/*"))


def test_resuming_without_a_sweep_is_refused(prepared: Path, tracker: Tracker, space: str) -> None:
    with pytest.raises(UserError, match="no sweep to resume"):
        tune.run(experiment(prepared, tracker), space, resume=True)


def test_a_killed_sweep_is_completed_by_resume(prepared: Path, tracker: Tracker, space: str, tmp_path: Path) -> None:
    slow = experiment(prepared, tracker, training={"epochs": 4, "batch_size": 1}, tune={"trials": 6, "grace_epochs": 4})
    path = tmp_path / "experiment.yaml"
    path.write_text(slow.to_yaml())
    command = [sys.executable, "-m", "pipelines.cli", "tune", str(path), "--space", space]
    driver = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert driver.stdout is not None
    for line in driver.stdout:
        if "[2/6" in line:
            break
    # The driver and the Ray it started, as when a machine loses its power.
    for process in [*psutil.Process(driver.pid).children(recursive=True), psutil.Process(driver.pid)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    driver.stdout.close()
    driver.wait(timeout=30)
    tune.run(slow, space, resume=True)
    sweep = tracker.find("latest")
    trials = tracker.children(sweep.info.run_id)
    assert sweep.info.status == "FINISHED"
    assert len(trials) == 6
    assert {trial.info.status for trial in trials} == {"FINISHED"}
    assert all(max(step for step, _ in tracker.history(trial.info.run_id, "dev/objective")) == 4 for trial in trials)


def test_an_interrupted_sweep_leaves_no_run_running(
    prepared: Path, tracker: Tracker, space: str, tmp_path: Path
) -> None:
    slow = experiment(
        prepared, tracker, training={"epochs": 40, "batch_size": 1}, tune={"trials": 4, "grace_epochs": 40}
    )
    path = tmp_path / "experiment.yaml"
    path.write_text(slow.to_yaml())
    command = [sys.executable, "-m", "pipelines.cli", "tune", str(path), "--space", space]
    driver = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not (found := _logged(tracker)):
        assert driver.poll() is None
        time.sleep(0.2)
    driver.send_signal(signal.SIGINT)
    _, text = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "--resume completes it" in text
    assert tracker.find(found).info.status == "KILLED"
    assert {trial.info.status for trial in tracker.children(found)} == {"KILLED"}


def _logged(tracker: Tracker) -> str | None:
    """The sweep, once a trial of it has logged an epoch."""
    try:
        sweep = tracker.find("latest").info.run_id
    except UserError:
        return None
    children = tracker.children(sweep)
    return sweep if any(tracker.history(child.info.run_id, "dev/objective") for child in children) else None
