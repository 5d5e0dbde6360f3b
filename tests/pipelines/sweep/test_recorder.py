"""What the recorder writes of trials and prints about them, called as Ray Tune calls it."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError
from ray.tune.schedulers import FIFOScheduler

from fgcme.tracking import Tracker
from pipelines.sweep.recorder import FailureLimit, SweepRecorder
from pipelines.sweep.trial_folder import FAILURE, NOTE, TrialContext, TrialFolder
from tests import small_corpus

EPOCHS = 3


@pytest.fixture
def trials_folder(tmp_path: Path) -> Path:
    return tmp_path / "sweep" / "trials"


@pytest.fixture
def failures() -> FailureLimit:
    return FailureLimit(0)


@pytest.fixture
def recorder(tracker: Tracker, trials_folder: Path, failures: FailureLimit) -> SweepRecorder:
    experiment = small_corpus.experiment(training={"epochs": EPOCHS})
    mlflow_experiment = tracker.get_or_create_experiment("recorded")
    parent = tracker.create_run(mlflow_experiment, "sweep")
    context = TrialContext(experiment, trials_folder.parent / "corpus", "hash", trials_folder)
    return SweepRecorder(tracker, mlflow_experiment, parent, context, 2, failures, FIFOScheduler())  # type: ignore[no-untyped-call]


def trial(number: int = 0, rate: float = 0.01, **last: Any) -> Any:
    """What the recorder reads of a trial of Ray Tune."""
    configuration = {"number": number, "proposed": 0.0, "training.learning_rate": rate}
    return SimpleNamespace(trial_id=f"id-{number}", config=configuration, last_result=last, status="RUNNING")


def report(epoch: int, objective: float = 0.5) -> dict[str, Any]:
    return {"epoch": epoch, "objective": objective, "dev/ua": objective, "seconds": 1.0, "time_total_s": 9.0}


@pytest.fixture
def folder(trials_folder: Path) -> TrialFolder:
    """Of trial 0."""
    return TrialFolder(trials_folder / "0")


def test_every_epoch_is_recorded_once_even_if_it_is_reported_again(
    recorder: SweepRecorder, tracker: Tracker, folder: TrialFolder
) -> None:
    running = trial()
    recorder.on_trial_start(0, [running], running)
    for epoch in (1, 2, 1, 2, 3):
        recorder.on_trial_result(0, [running], running, report(epoch))
    run = folder.run_id()
    assert [epoch for epoch, _ in tracker.metric_history(run, "dev/objective")] == [1, 2, 3]
    assert set(tracker.find_run(run).data.metrics) == {"dev/objective", "dev/ua", "seconds"}


def test_the_recorder_of_a_resumed_sweep_knows_which_epochs_are_recorded(
    recorder: SweepRecorder, tracker: Tracker, trials_folder: Path
) -> None:
    trials = [trial(0), trial(1)]
    for each in trials:
        recorder.on_trial_start(0, trials, each)
        recorder.on_trial_result(0, trials, each, report(1))
    recorder.on_trial_complete(0, trials, trial(1, **report(1)))
    resumed: SweepRecorder = pickle.loads(pickle.dumps(recorder))
    resumed.setup()
    for each in trials:
        resumed.on_trial_start(0, trials, each)
        resumed.on_trial_result(0, trials, each, report(1))
        run = TrialFolder(trials_folder / str(each.config["number"])).run_id()
        assert [epoch for epoch, _ in tracker.metric_history(run, "dev/objective")] == [1]


def test_a_trial_s_run_ends_finished_or_failed_with_the_reason(
    recorder: SweepRecorder, tracker: Tracker, trials_folder: Path, failures: FailureLimit
) -> None:
    good, bad = trial(0, **report(EPOCHS)), trial(1, **report(1), **{FAILURE: "the loss is not a number"})
    folders = [TrialFolder(trials_folder / "0"), TrialFolder(trials_folder / "1")]
    for each, folder in zip((good, bad), folders, strict=True):
        recorder.on_trial_start(0, [good, bad], each)
        recorder.on_trial_complete(0, [good, bad], each)
        assert not folder.run_open_marker.exists()
    runs = [tracker.find_run(folder.run_id()) for folder in folders]
    assert [run.info.status for run in runs] == ["FINISHED", "FAILED"]
    assert runs[1].data.tags["fgcme.failure"] == "the loss is not a number"
    # Ray Tune's own measurements are not kept.
    assert set(json.loads(folders[0].last_report.read_text())) == {"epoch", "objective", "dev/ua", "seconds"}
    assert failures.stop_all()


def test_a_trial_that_reuses_the_number_of_a_deleted_one_gets_a_new_run(
    recorder: SweepRecorder, tracker: Tracker, folder: TrialFolder
) -> None:
    forgotten, proposed = trial(0, rate=0.01), trial(0, rate=0.02)
    recorder.on_trial_start(0, [forgotten], forgotten)
    recorder.on_trial_result(0, [forgotten], forgotten, report(1))
    before = folder.run_id()
    recorder.on_trial_start(0, [proposed], proposed)
    recorder.on_trial_result(0, [proposed], proposed, report(1))
    after = folder.run_id()
    assert [tracker.find_run(run).info.status for run in (before, after)] == ["KILLED", "RUNNING"]
    assert tracker.find_run(after).data.params["training.learning_rate"] == "0.02"
    assert len(tracker.metric_history(after, "dev/objective")) == 1


def test_a_trial_counts_as_failed_once_even_if_it_reports_the_failure_again(
    recorder: SweepRecorder, failures: FailureLimit
) -> None:
    bad = trial(0, **report(1), **{FAILURE: "the loss is not a number"})
    failures.max_failures = 1
    for _ in range(2):
        recorder.on_trial_start(0, [bad], bad)
        recorder.on_trial_complete(0, [bad], bad)
    assert failures.failed == {"0"} and not failures.stop_all()


def test_no_snapshot_is_saved_after_too_many_trials_have_failed(
    recorder: SweepRecorder, failures: FailureLimit, trials_folder: Path, tmp_path: Path
) -> None:
    running = trial()
    staging = tmp_path / "staging"
    staging.mkdir()
    running.local_experiment_path = str(staging)

    def saved_after(content: str, written_at: float) -> str:
        path = staging / "experiment_state-1.json"
        path.write_text(content)
        os.utime(path, (written_at, written_at))
        recorder.on_step_end(0, [running])
        return (trials_folder.parent / "snapshot" / path.name).read_text()

    trials_folder.parent.mkdir()
    assert saved_after("running", 1.0) == "running"
    failures.failed |= {"0"}
    assert saved_after("all ended", 2.0) == "running"


def died(message: str) -> ActorDiedError:
    error = ActorDiedError()
    error.error_msg = message
    return error


@pytest.mark.parametrize(
    ("error", "starts", "printed"),
    [
        (died("The actor died because its node has died. Node Id: 1"), 1, "lost its machine, and resumes"),
        (died("The actor is dead because its worker process has died."), 3, "lost its process, and resumes"),
        (None, 3, "lost its process, and resumes"),
    ],
    ids=["node", "process", "unknown"],
)
def test_the_loss_of_a_machine_does_not_count_as_a_start_without_progress(
    recorder: SweepRecorder,
    folder: TrialFolder,
    capsys: pytest.CaptureFixture[str],
    error: Exception | None,
    starts: int,
    printed: str,
) -> None:
    lost = trial()
    lost.get_pickled_error = lambda: error
    recorder.on_trial_start(0, [lost], lost)
    folder.count_start()
    folder.count_start()
    recorder.on_trial_recover(0, [lost], lost)
    assert printed in capsys.readouterr().out
    assert folder.count_start() == starts


def test_a_note_in_a_trial_s_report_is_printed(recorder: SweepRecorder, capsys: pytest.CaptureFixture[str]) -> None:
    running = trial()
    recorder.on_trial_start(0, [running], running)
    recorder.on_trial_result(0, [running], running, report(1) | {NOTE: "its state cannot be saved"})
    assert "trial 0: its state cannot be saved" in capsys.readouterr().out


def test_a_trial_whose_run_was_deleted_trains_on_and_that_is_printed_once(
    recorder: SweepRecorder, tracker: Tracker, folder: TrialFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    running = trial(**report(EPOCHS))
    recorder.on_trial_start(0, [running], running)
    tracker.client.delete_run(folder.run_id())
    for epoch in (1, 2):
        recorder.on_trial_result(0, [running], running, report(epoch))
    recorder.on_trial_complete(0, [running], running)
    assert capsys.readouterr().err.count("was deleted in MLflow: the work goes on") == 1
    assert folder.read_last_report() is not None and not folder.run_open_marker.exists()
