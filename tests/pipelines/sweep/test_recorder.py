"""What a sweep's driver makes of what its trials report, without a sweep."""

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
from pipelines.sweep.trial import FAILURE, NOTE, TrialContext, TrialFolder
from tests import small_corpus
from tests.store import make_tracker

EPOCHS = 3


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    return make_tracker(tmp_path)


@pytest.fixture
def recorder(tracker: Tracker, tmp_path: Path) -> SweepRecorder:
    experiment = small_corpus.experiment(training={"epochs": EPOCHS})
    study = tracker.get_or_create_experiment("recorded")
    parent = tracker.create_run(study, "sweep")
    sweep = TrialContext(experiment, tmp_path / "corpus", "hash", tmp_path / "sweep" / "trials")
    return SweepRecorder(tracker, study, parent, sweep, 2, FailureLimit(0), FIFOScheduler())  # type: ignore[no-untyped-call]


def trial(number: int = 0, rate: float = 0.01, **last: Any) -> Any:
    """As much of a trial of Ray Tune as is read here."""
    configuration = {"number": number, "proposed": 0.0, "training.learning_rate": rate}
    return SimpleNamespace(trial_id=f"id-{number}", config=configuration, last_result=last, status="RUNNING")


def report(epoch: int, objective: float = 0.5) -> dict[str, Any]:
    return {"epoch": epoch, "objective": objective, "dev/ua": objective, "seconds": 1.0, "time_total_s": 9.0}


def kept(recorder: SweepRecorder, number: int = 0) -> TrialFolder:
    return TrialFolder(recorder._sweep.folder / str(number))


def test_every_epoch_is_recorded_once_though_it_may_be_reported_again(
    recorder: SweepRecorder, tracker: Tracker
) -> None:
    one = trial()
    recorder.on_trial_start(0, [one], one)
    for epoch in (1, 2, 1, 2, 3):
        recorder.on_trial_result(0, [one], one, report(epoch))
    run = kept(recorder).run.read_text()
    assert [epoch for epoch, _ in tracker.metric_history(run, "dev/objective")] == [1, 2, 3]
    assert set(tracker.find_run(run).data.metrics) == {"dev/objective", "dev/ua", "seconds"}


def test_a_driver_that_goes_on_knows_which_epochs_are_recorded(recorder: SweepRecorder, tracker: Tracker) -> None:
    one, two = trial(0), trial(1)
    for each in (one, two):
        recorder.on_trial_start(0, [one, two], each)
        recorder.on_trial_result(0, [one, two], each, report(1))
    recorder.on_trial_complete(0, [one, two], trial(1, **report(1)))
    again: SweepRecorder = pickle.loads(pickle.dumps(recorder))
    again.setup()
    for each in (one, two):
        again.on_trial_start(0, [one, two], each)
        again.on_trial_result(0, [one, two], each, report(1))
        run = kept(again, each.config["number"]).run.read_text()
        assert [epoch for epoch, _ in tracker.metric_history(run, "dev/objective")] == [1]


def test_a_trial_ends_finished_or_failed_with_its_reason(recorder: SweepRecorder, tracker: Tracker) -> None:
    good, bad = trial(0, **report(EPOCHS)), trial(1, **report(1), **{FAILURE: "the loss is not a number"})
    for each in (good, bad):
        recorder.on_trial_start(0, [good, bad], each)
        recorder.on_trial_complete(0, [good, bad], each)
        assert not kept(recorder, each.config["number"]).run_open_marker.exists()
    runs = [tracker.find_run(kept(recorder, number).run.read_text()) for number in (0, 1)]
    assert [run.info.status for run in runs] == ["FINISHED", "FAILED"]
    assert runs[1].data.tags["fgcme.failure"] == "the loss is not a number"
    # Ray Tune's own measurements are not kept.
    assert set(json.loads(kept(recorder).last.read_text())) == {"epoch", "objective", "dev/ua", "seconds"}
    assert recorder._failures.stop_all()


def test_a_number_that_is_given_out_again_has_a_run_of_its_own(recorder: SweepRecorder, tracker: Tracker) -> None:
    forgotten, proposed = trial(0, rate=0.01), trial(0, rate=0.02)
    recorder.on_trial_start(0, [forgotten], forgotten)
    recorder.on_trial_result(0, [forgotten], forgotten, report(1))
    before = kept(recorder).run.read_text()
    recorder.on_trial_start(0, [proposed], proposed)
    recorder.on_trial_result(0, [proposed], proposed, report(1))
    after = kept(recorder).run.read_text()
    assert [tracker.find_run(run).info.status for run in (before, after)] == ["KILLED", "RUNNING"]
    assert tracker.find_run(after).data.params["training.learning_rate"] == "0.02"
    assert len(tracker.metric_history(after, "dev/objective")) == 1


def test_a_trial_fails_once_though_it_may_say_so_again(recorder: SweepRecorder) -> None:
    bad = trial(0, **report(1), **{FAILURE: "the loss is not a number"})
    recorder._failures.most = 1
    for _ in range(2):
        recorder.on_trial_start(0, [bad], bad)
        recorder.on_trial_complete(0, [bad], bad)
    assert recorder._failures.failed == {"0"} and not recorder._failures.stop_all()


def test_no_snapshot_is_kept_once_too_many_have_failed(recorder: SweepRecorder, tmp_path: Path) -> None:
    one = trial()
    one.local_experiment_path = str(tmp_path / "staging")
    Path(one.local_experiment_path).mkdir()
    kept_state = recorder._sweep.folder.parent / "snapshot" / "experiment_state-1.json"

    def step(content: str, written: float) -> str:
        path = Path(one.local_experiment_path) / "experiment_state-1.json"
        path.write_text(content)
        os.utime(path, (written, written))
        recorder.on_step_end(0, [one])
        return kept_state.read_text()

    kept_state.parent.parent.mkdir()
    assert step("running", 1.0) == "running"
    recorder._failures.failed |= {"0"}
    assert step("all ended", 2.0) == "running"


def died(message: str) -> ActorDiedError:
    error = ActorDiedError()
    error.error_msg = message
    return error


@pytest.mark.parametrize(
    ("error", "starts", "said"),
    [
        (died("The actor died because its node has died. Node Id: 1"), 1, "was lost with its machine"),
        (died("The actor is dead because its worker process has died."), 3, "was lost with its process"),
        (None, 3, "was lost with its process"),
    ],
    ids=["node", "process", "unknown"],
)
def test_a_lost_machine_is_not_counted_as_the_trial_s_own_death(
    recorder: SweepRecorder, capsys: pytest.CaptureFixture[str], error: Exception | None, starts: int, said: str
) -> None:
    lost = trial()
    lost.get_pickled_error = lambda: error
    recorder.on_trial_start(0, [lost], lost)
    kept(recorder).start()
    kept(recorder).start()
    recorder.on_trial_recover(0, [lost], lost)
    assert said in capsys.readouterr().out
    assert kept(recorder).start() == starts


def test_what_a_trial_has_to_say_is_said(recorder: SweepRecorder, capsys: pytest.CaptureFixture[str]) -> None:
    one = trial()
    recorder.on_trial_start(0, [one], one)
    recorder.on_trial_result(0, [one], one, report(1) | {NOTE: "its state cannot be kept"})
    assert "trial 0: its state cannot be kept" in capsys.readouterr().out


def test_a_trial_whose_run_was_deleted_goes_on_unrecorded_and_that_is_said_once(
    recorder: SweepRecorder, tracker: Tracker, capsys: pytest.CaptureFixture[str]
) -> None:
    one = trial(**report(EPOCHS))
    recorder.on_trial_start(0, [one], one)
    tracker.client.delete_run(kept(recorder).run.read_text())
    for epoch in (1, 2):
        recorder.on_trial_result(0, [one], one, report(epoch))
    recorder.on_trial_complete(0, [one], one)
    assert capsys.readouterr().err.count("was deleted in MLflow: the work goes on") == 1
    assert kept(recorder).ended() is not None and not kept(recorder).run_open_marker.exists()
