"""What the runner says and does without starting a training; on Ray it is tested in `tests/integration`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from fgcme.data import Selection
from fgcme.tracking import Tracker
from pipelines.runs.opening import OpenRun
from pipelines.training import failure
from pipelines.training.job import Job, Result
from pipelines.training.runner import Training, run_trainings, start_training
from tests import small_corpus


@pytest.fixture
def run(tracker: Tracker, tmp_path: Path) -> OpenRun:
    mlflow_experiment = tracker.get_or_create_experiment("small")
    return OpenRun(tracker.create_run(mlflow_experiment, "small train"), mlflow_experiment, tmp_path, resumed=False)


def training(tracker: Tracker, folder: Path, fold: int = 0, variant: str = "", rule: Selection = "dev") -> Training:
    experiment = small_corpus.experiment(protocol={"selection": rule})
    return Training(Job(experiment, folder, "c" * 16, fold, 0, folder / f"fold-{fold}", tracker, run=""), variant)


@pytest.mark.parametrize(
    ("variant", "rule", "title"),
    [
        ("", "dev", "fold 0, seed 0"),
        ("", "test", "fold 0, seed 0"),
        ("mean", "dev", "mean, fold 0, seed 0"),
        ("mean", "test", "mean (epoch chosen on test: optimistic), fold 0, seed 0"),
    ],
)
def test_a_training_of_an_ablation_is_named_by_its_variant_and_says_if_it_is_optimistic(
    tracker: Tracker, tmp_path: Path, variant: str, rule: Selection, title: str
) -> None:
    assert training(tracker, tmp_path, variant=variant, rule=rule).title == title


def test_a_failed_training_that_starts_again_has_the_same_run_and_no_failure(
    tracker: Tracker, tmp_path: Path, run: OpenRun
) -> None:
    first = start_training(training(tracker, tmp_path, variant="mean"), run)
    failure.record_failure(first.job, "a.txt: no such file")
    again = start_training(training(tracker, tmp_path, variant="mean"), run)
    assert again == first and failure.recorded_failure(again.job) is None
    (child,) = tracker.child_runs(run.run_id)
    assert (child.info.status, child.data.tags["fgcme.failure"], child.data.tags["fgcme.variant"]) == (
        "RUNNING",
        "",
        "mean",
    )


def test_trainings_that_have_results_are_not_started_again(
    tracker: Tracker, tmp_path: Path, run: OpenRun, capsys: pytest.CaptureFixture[str]
) -> None:
    trainings = [training(tracker, tmp_path, fold) for fold in (0, 1)]
    for each in trainings:
        start_training(each, run)
        result = Result(each.job.fold, 0, 1, 1, {"ua": 0.5}, {"ua": 0.5, "wa": 0.5}, 1.0)
        (each.job.folder / "result.json").write_text(json.dumps(asdict(result)))
    run_trainings(trainings, run, resume="--resume")
    assert capsys.readouterr().out == "2 of 2 trainings are there already\n"
    # Their driver was killed before it ended their runs.
    assert [child.info.status for child in tracker.child_runs(run.run_id)] == ["FINISHED"] * 2
