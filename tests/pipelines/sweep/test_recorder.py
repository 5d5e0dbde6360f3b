"""What the recorder writes of trials and prints about them, called as Ray Tune calls it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.tune.schedulers import FIFOScheduler
from ray.tune.trainable.metadata import _TrainingRunMetadata

from fgcme.errors import UnfinishedError
from fgcme.tracking import Tracker
from pipelines.sweep.recorder import FailureLimit, SweepRecorder
from pipelines.sweep.trial_folder import FAILURE, NOTE, TrialContext, TrialFolder
from pipelines.training import failure
from tests import small_corpus

EPOCHS = 3


@pytest.fixture
def trials_folder(tmp_path: Path) -> Path:
    return tmp_path / "sweep" / "trials"


@pytest.fixture
def failures() -> FailureLimit:
    return FailureLimit(0)


@pytest.fixture
def context(trials_folder: Path) -> TrialContext:
    experiment = small_corpus.experiment(training={"epochs": EPOCHS})
    return TrialContext(experiment, trials_folder.parent / "corpus", "hash", trials_folder)


@pytest.fixture
def recorder(tracker: Tracker, context: TrialContext, failures: FailureLimit) -> SweepRecorder:
    mlflow_experiment = tracker.get_or_create_experiment("recorded")
    parent = tracker.create_run(mlflow_experiment, "sweep")
    return SweepRecorder(tracker, mlflow_experiment, parent, context, 2, failures, FIFOScheduler())  # type: ignore[no-untyped-call]


def trial(number: int = 0, rate: float = 0.01, **last: Any) -> Any:
    """What the recorder reads of a trial of Ray Tune."""
    configuration = {"number": number, "proposed": 0.0, "training.learning_rate": rate}
    return SimpleNamespace(
        trial_id=f"id-{number}",
        config=configuration,
        last_result=last,
        status="RUNNING",
        run_metadata=_TrainingRunMetadata(),
    )


def report(epoch: int, objective: float = 0.5) -> dict[str, Any]:
    return {"epoch": epoch, "objective": objective, "dev/ua": objective, "seconds": 1.0, "time_total_s": 9.0}


@pytest.fixture
def folder(trials_folder: Path) -> TrialFolder:
    """Of trial 0."""
    return TrialFolder(trials_folder / "0")


def begin(recorder: SweepRecorder, each: Any, *epochs: int) -> None:
    """A trial begins, reports these epochs, and keeps these reports and its settings itself."""
    recorder.on_trial_start(0, [each], each)
    folder = recorder._folder(each)
    folder.configuration.write_text(json.dumps({"training.learning_rate": each.config["training.learning_rate"]}))
    for epoch in epochs:
        folder.add_report(report(epoch))
        recorder.on_trial_result(0, [each], each, report(epoch))


def finish(recorder: SweepRecorder) -> None:
    recorder.on_experiment_end([])


def epochs_of(tracker: Tracker, folder: TrialFolder) -> list[int]:
    return [epoch for epoch, _ in tracker.metric_history(folder.run_id(), "dev/objective")]


def test_every_epoch_is_recorded_once_even_if_it_is_reported_again(
    recorder: SweepRecorder, tracker: Tracker, folder: TrialFolder
) -> None:
    begin(recorder, trial(), 1, 2, 1, 2, 3)
    finish(recorder)
    assert epochs_of(tracker, folder) == [1, 2, 3]
    run = tracker.find_run(folder.run_id())
    assert set(run.data.metrics) == {"dev/objective", "dev/ua", "seconds"}
    assert run.data.params["training.learning_rate"] == "0.01"


def test_the_recorder_of_a_resumed_sweep_knows_which_epochs_are_recorded(
    recorder: SweepRecorder, tracker: Tracker, trials_folder: Path
) -> None:
    trials = [trial(0), trial(1)]
    for each in trials:
        begin(recorder, each, 1)
    recorder.on_trial_complete(0, trials, trial(1, **report(1)))
    finish(recorder)
    resumed: SweepRecorder = pickle.loads(pickle.dumps(recorder))
    resumed.setup()
    for each in trials:
        begin(resumed, each, 1)
    finish(resumed)
    for name in ("0", "1"):
        assert epochs_of(tracker, TrialFolder(trials_folder / name)) == [1]
    # Nothing is left to record of the one that has ended.
    assert tracker.find_run(TrialFolder(trials_folder / "1").run_id()).info.status == "FINISHED"


def test_a_sweep_that_ray_tune_would_begin_anew_instead_of_resuming_it_ends(recorder: SweepRecorder) -> None:
    recorder.setup(total_num_samples=2)
    with pytest.raises(UnfinishedError, match="could not restore the sweep from its records"):
        recorder.setup(total_num_samples=1)


@pytest.mark.parametrize("has_run", [True, False])
def test_what_a_killed_driver_could_not_record_of_ended_trials_is_recorded_when_the_sweep_resumes(
    recorder: SweepRecorder, tracker: Tracker, folder: TrialFolder, has_run: bool
) -> None:
    if has_run:
        begin(recorder, trial(), 1)
        finish(recorder)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.configuration.write_text(json.dumps({"training.learning_rate": 0.02}))
    for epoch in range(1, EPOCHS + 1):
        folder.add_report(report(epoch))
    folder.run_open_marker.touch()
    folder.end(report(EPOCHS))
    resumed: SweepRecorder = pickle.loads(pickle.dumps(recorder))
    resumed.setup()
    finish(resumed)
    assert epochs_of(tracker, folder) == [1, 2, 3]
    run = tracker.find_run(folder.run_id())
    assert (run.info.status, run.data.params["training.learning_rate"]) == (
        "FINISHED",
        "0.01" if has_run else "0.02",
    )
    assert not folder.run_open_marker.exists()


def test_a_trial_s_run_ends_finished_or_failed_with_the_reason(
    recorder: SweepRecorder, tracker: Tracker, trials_folder: Path, failures: FailureLimit
) -> None:
    good, bad = trial(0, **report(EPOCHS)), trial(1, **report(1), **{FAILURE: "the loss is not a number"})
    folders = [TrialFolder(trials_folder / "0"), TrialFolder(trials_folder / "1")]
    for each in (good, bad):
        begin(recorder, each)
        recorder.on_trial_complete(0, [good, bad], each)
    finish(recorder)
    assert not any(folder.run_open_marker.exists() for folder in folders)
    runs = [tracker.find_run(folder.run_id()) for folder in folders]
    assert [run.info.status for run in runs] == ["FINISHED", "FAILED"]
    assert runs[1].data.tags["fgcme.failure"] == "the loss is not a number"
    # Ray Tune's own measurements are not kept.
    assert set(json.loads(folders[0].last_report.read_text())) == {"epoch", "objective", "dev/ua", "seconds"}
    assert failures.stop_all()


def test_what_a_trial_needed_to_resume_is_deleted_when_it_ends_and_kept_when_ray_gives_it_up(
    recorder: SweepRecorder, folder: TrialFolder
) -> None:
    ended, given_up, lost = folder, TrialFolder(folder.path.with_name("1")), trial(1)
    begin(recorder, trial(0), 1)
    lost.pickled_error_file = None
    begin(recorder, lost, 1)
    for each in (ended, given_up):
        each.state.write_bytes(b"state")
    recorder.on_trial_complete(0, [], trial(0, **report(1)))
    recorder.on_trial_error(0, [], lost)
    finish(recorder)
    assert (ended.state.exists(), given_up.state.exists()) == (False, True)


def test_a_trial_that_repeats_its_end_keeps_the_one_that_it_had(
    recorder: SweepRecorder, folder: TrialFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    begin(recorder, trial(), 1, 2, 3)
    recorder.on_trial_complete(0, [], trial(**report(3, objective=0.7)))
    # Compared with others than before, it is stopped earlier.
    recorder.on_trial_complete(0, [], trial(**report(1, objective=0.2)))
    finish(recorder)
    assert (folder.read_last_report() or {})["epoch"] == 3
    assert capsys.readouterr().out.count("dev score 0.7000 after 3 epochs") == 2


def test_the_end_of_a_trial_is_kept_with_its_last_result_where_an_error_ends_the_sweep(
    recorder: SweepRecorder, folder: TrialFolder
) -> None:
    running = trial()
    begin(recorder, running, 1)
    assert folder.read_last_report() is None
    recorder.on_trial_result(0, [running], running, report(2) | {"done": True})
    assert (folder.read_last_report() or {})["epoch"] == 2
    # As if compared with others than before, it were stopped earlier.
    recorder.on_trial_result(0, [running], running, report(1) | {"done": True})
    assert (folder.read_last_report() or {})["epoch"] == 2


def test_trials_that_ended_before_the_sweep_was_resumed_count_and_take_no_time(
    recorder: SweepRecorder, capsys: pytest.CaptureFixture[str]
) -> None:
    ended, running = trial(0, **report(EPOCHS, objective=0.9)), trial(1, **report(EPOCHS))
    begin(recorder, ended)
    recorder.on_trial_complete(0, [ended, running], ended)
    finish(recorder)
    resumed: SweepRecorder = pickle.loads(pickle.dumps(recorder))
    resumed.setup()
    capsys.readouterr()
    # The records that Ray Tune resumes from may be older than this end, which then repeats.
    for each in (ended, running):
        begin(resumed, each)
        resumed.on_trial_complete(0, [ended, running], each)
    finish(resumed)
    assert capsys.readouterr().out.splitlines() == [
        "trial 0: dev score 0.9000 after 3 epochs, best 0.9000  [1/2]",
        "trial 1: dev score 0.5000 after 3 epochs, best 0.9000  [2/2]",
    ]


def test_a_trial_counts_as_failed_once_even_if_it_reports_the_failure_again(
    recorder: SweepRecorder, failures: FailureLimit
) -> None:
    bad = trial(0, **report(1), **{FAILURE: "the loss is not a number"})
    failures.max_failures = 1
    for _ in range(2):
        begin(recorder, bad)
        recorder.on_trial_complete(0, [bad], bad)
    finish(recorder)
    assert failures.failed == {"0"} and not failures.stop_all()


def test_a_store_that_refuses_a_write_ends_the_sweep(recorder: SweepRecorder, tracker: Tracker) -> None:
    recorder._mlflow_experiment = "12345"
    begin(recorder, trial(), 1)
    with pytest.raises(UnfinishedError, match="12345 was deleted"):
        finish(recorder)
    with pytest.raises(UnfinishedError, match="12345 was deleted"):
        recorder.on_step_end(0, [])


def died(message: str) -> ActorDiedError:
    error = ActorDiedError()
    error.error_msg = message
    return error


RESET = ActorUnavailableError("Connection reset by peer", None)
MACHINE, PROCESS = "was lost with its machine, and resumes", "lost its process, and resumes"


@pytest.mark.parametrize(
    ("error", "node", "starts", "printed"),
    [
        (died("The actor died because its node has died. Node Id: 1"), "living", 1, MACHINE),
        (died("The actor is dead because its worker process has died."), "dead", 1, MACHINE),
        (died("The actor is dead because its worker process has died."), "living", 3, PROCESS),
        (RESET, "dead", 1, MACHINE),
        (None, "living", 3, PROCESS),
    ],
    ids=["node", "process-of-node", "process", "connection-to-node", "unknown"],
)
def test_the_loss_of_a_machine_does_not_count_as_a_start_without_progress(
    recorder: SweepRecorder,
    folder: TrialFolder,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception | None,
    node: str,
    starts: int,
    printed: str,
) -> None:
    monkeypatch.setattr(failure, "dead_nodes", lambda: {"dead"})
    lose(recorder, folder, error, node)
    assert printed in capsys.readouterr().out
    assert folder.count_start() == starts
    assert str(error) in folder.losses_log.read_text()


def lose(recorder: SweepRecorder, folder: TrialFolder, error: Exception | None, node: str) -> None:
    """Lose trial 0 at its second start."""
    lost = trial()
    begin(recorder, lost)
    lost.pickled_error_file = None
    if error is not None:
        lost.pickled_error_file = str(folder.path / "error.pkl")
        (folder.path / "error.pkl").write_bytes(pickle.dumps(error))
    folder.node_file.write_text(node)
    folder.count_start()
    folder.count_start()
    recorder.on_trial_recover(0, [lost], lost)


@pytest.mark.parametrize(("dies", "printed"), [(True, MACHINE), (False, PROCESS)])
def test_what_a_reset_connection_means_is_said_once_ray_knows(
    recorder: SweepRecorder,
    folder: TrialFolder,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    dies: bool,
    printed: str,
) -> None:
    dead: set[str] = set()
    monkeypatch.setattr(failure, "dead_nodes", lambda: dead)
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    lose(recorder, folder, RESET, "node")
    # It has started elsewhere meanwhile.
    folder.node_file.write_text("another")
    now = failure.NODE_PATIENCE - 1
    recorder.on_step_end(0, [])
    assert capsys.readouterr().out == ""
    if dies:
        dead.add("node")
    else:
        now = failure.NODE_PATIENCE + 1
    recorder.on_step_end(1, [])
    recorder.on_step_end(2, [])
    assert capsys.readouterr().out == f"trial 0 {printed} from its last saved epoch\n"


def test_a_sweep_that_ends_before_ray_knows_says_that_the_process_was_lost(
    recorder: SweepRecorder, folder: TrialFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failure, "dead_nodes", set)
    lose(recorder, folder, RESET, "node")
    recorder.on_step_end(0, [])
    finish(recorder)
    assert capsys.readouterr().out == f"trial 0 {PROCESS} from its last saved epoch\n"


def test_a_note_in_a_trial_s_report_is_printed(recorder: SweepRecorder, capsys: pytest.CaptureFixture[str]) -> None:
    running = trial()
    begin(recorder, running)
    recorder.on_trial_result(0, [running], running, report(1) | {NOTE: "its state cannot be saved"})
    assert "trial 0: its state cannot be saved" in capsys.readouterr().out


def test_a_trial_whose_run_was_deleted_trains_on_and_that_is_printed_once(
    recorder: SweepRecorder, tracker: Tracker, folder: TrialFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    running = trial(**report(EPOCHS))
    begin(recorder, running)
    finish(recorder)
    tracker.client.delete_run(folder.run_id())
    for epoch in (1, 2):
        recorder.on_trial_result(0, [running], running, report(epoch))
    recorder.on_trial_complete(0, [running], running)
    finish(recorder)
    assert capsys.readouterr().err.count("was deleted in MLflow: the work goes on") == 1
    assert folder.read_last_report() is not None and not folder.run_open_marker.exists()
