"""What a sweep's driver makes of what its trials report, without a sweep."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import FIFOScheduler

from fgcme.tracking import Tracker
from pipelines.recorder import Failures, Recorder
from pipelines.trial import FAILURE, Kept, Sweep
from tests import small_corpus
from tests.store import make_tracker

EPOCHS = 3


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    return make_tracker(tmp_path)


@pytest.fixture
def recorder(tracker: Tracker, tmp_path: Path) -> Recorder:
    experiment = small_corpus.experiment(training={"epochs": EPOCHS})
    study = tracker.experiment("recorded")
    parent = tracker.start(study, "sweep")
    sweep = Sweep(experiment, tmp_path / "corpus", "hash", tmp_path / "sweep" / "trials")
    return Recorder(tracker, study, parent, sweep, 2, Failures(0), FIFOScheduler())  # type: ignore[no-untyped-call]


def trial(number: int = 0, rate: float = 0.01, **last: Any) -> Any:
    """As much of a trial of Ray Tune as is read here."""
    configuration = {"number": number, "proposed": 0.0, "training.learning_rate": rate}
    return SimpleNamespace(trial_id=f"id-{number}", config=configuration, last_result=last, status="RUNNING")


def report(epoch: int, objective: float = 0.5) -> dict[str, Any]:
    return {"epoch": epoch, "objective": objective, "dev/ua": objective, "seconds": 1.0, "time_total_s": 9.0}


def kept(recorder: Recorder, number: int = 0) -> Kept:
    return Kept(recorder._sweep.folder / str(number))


def test_every_epoch_is_recorded_once_though_it_may_be_reported_again(recorder: Recorder, tracker: Tracker) -> None:
    one = trial()
    recorder.on_trial_start(0, [one], one)
    for epoch in (1, 2, 1, 2, 3):
        recorder.on_trial_result(0, [one], one, report(epoch))
    run = kept(recorder).run.read_text()
    assert [epoch for epoch, _ in tracker.history(run, "dev/objective")] == [1, 2, 3]
    assert set(tracker.find(run).data.metrics) == {"dev/objective", "dev/ua", "seconds"}


def test_a_driver_that_goes_on_knows_which_epochs_are_recorded(recorder: Recorder, tracker: Tracker) -> None:
    one, two = trial(0), trial(1)
    for each in (one, two):
        recorder.on_trial_start(0, [one, two], each)
        recorder.on_trial_result(0, [one, two], each, report(1))
    recorder.on_trial_complete(0, [one, two], trial(1, **report(1)))
    again: Recorder = pickle.loads(pickle.dumps(recorder))
    again.setup()
    for each in (one, two):
        again.on_trial_start(0, [one, two], each)
        again.on_trial_result(0, [one, two], each, report(1))
        run = kept(again, each.config["number"]).run.read_text()
        assert [epoch for epoch, _ in tracker.history(run, "dev/objective")] == [1]


def test_a_trial_ends_finished_or_failed_with_its_reason(recorder: Recorder, tracker: Tracker) -> None:
    good, bad = trial(0, **report(EPOCHS)), trial(1, **report(1), **{FAILURE: "the loss is not a number"})
    for each in (good, bad):
        recorder.on_trial_start(0, [good, bad], each)
        recorder.on_trial_complete(0, [good, bad], each)
        assert not kept(recorder, each.config["number"]).open.exists()
    runs = [tracker.find(kept(recorder, number).run.read_text()) for number in (0, 1)]
    assert [run.info.status for run in runs] == ["FINISHED", "FAILED"]
    assert runs[1].data.tags["fgcme.failure"] == "the loss is not a number"
    # Ray Tune's own measurements are not kept.
    assert set(json.loads(kept(recorder).last.read_text())) == {"epoch", "objective", "dev/ua", "seconds"}
    assert recorder._failures.stop_all()


def test_a_number_that_is_given_out_again_has_a_run_of_its_own(recorder: Recorder, tracker: Tracker) -> None:
    forgotten, proposed = trial(0, rate=0.01), trial(0, rate=0.02)
    recorder.on_trial_start(0, [forgotten], forgotten)
    recorder.on_trial_result(0, [forgotten], forgotten, report(1))
    before = kept(recorder).run.read_text()
    recorder.on_trial_start(0, [proposed], proposed)
    recorder.on_trial_result(0, [proposed], proposed, report(1))
    after = kept(recorder).run.read_text()
    assert [tracker.find(run).info.status for run in (before, after)] == ["KILLED", "RUNNING"]
    assert tracker.find(after).data.params["training.learning_rate"] == "0.02"
    assert len(tracker.history(after, "dev/objective")) == 1
