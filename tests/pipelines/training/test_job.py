"""A training's job, its MLflow run, and what is left of it when it has ended."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from fgcme.tracking import Tracker
from pipelines.training.job import (
    Job,
    Result,
    conclude,
    finish_leftovers,
    format_result,
    read_result,
    recorded_run,
    with_run,
)
from tests import small_corpus

RESULT = Result(1, 0, best_epoch=2, epochs=3, dev={"ua": 0.5}, test={"ua": 0.25, "wa": 0.375}, seconds=1.5)


@pytest.fixture
def parent(tracker: Tracker) -> str:
    return tracker.create_run(tracker.get_or_create_experiment("small"), "small train")


@pytest.fixture
def job(tracker: Tracker, tmp_path: Path) -> Job:
    return Job(small_corpus.experiment(), tmp_path, "c" * 16, 1, 0, tmp_path / "fold-1-seed-0", tracker, run="")


def start(job: Job, parent: str) -> Job:
    return with_run(
        job, job.tracker.get_or_create_experiment("small"), parent, "fold 1, seed 0", {"fgcme.variant": "mean"}
    )


def write_result(job: Job) -> None:
    (job.folder / "result.json").write_text(json.dumps(asdict(RESULT)))


def test_a_new_run_says_which_training_it_is_of(job: Job, parent: str) -> None:
    with pytest.raises(FileNotFoundError):
        recorded_run(job)
    started = start(job, parent)
    assert recorded_run(job) == started.run
    (run,) = job.tracker.child_runs(parent)
    assert (run.info.run_id, run.info.run_name, run.info.status) == (started.run, "fold 1, seed 0", "RUNNING")
    tags = {name.removeprefix("fgcme."): value for name, value in run.data.tags.items()}
    assert (tags["kind"], tags["fold"], tags["seed"], tags["variant"]) == ("fold", "1", "0", "mean")
    assert (tags["protocol"], tags["selection"]) == ("demo/4class", "dev")
    assert tags["commit"] and "commit.resumed" not in tags


def test_a_training_on_everybody_is_of_no_fold(job: Job, parent: str) -> None:
    everybody = replace(job, fold=None, epochs=7)
    assert (job.title, everybody.title) == ("fold 1, seed 0", "all speakers, seed 0")
    start(everybody, parent)
    (run,) = job.tracker.child_runs(parent)
    assert run.data.tags["fgcme.kind"] == "final_seed" and "fgcme.fold" not in run.data.tags
    assert format_result(Result(None, 0, 7, 7, {}, {}, 1.5)) == "all speakers, seed 0: 7 epochs"


def test_an_interrupted_training_keeps_its_run_which_says_what_resumed_it(job: Job, parent: str) -> None:
    started = start(job, parent)
    job.tracker.end_run(started.run, "KILLED")
    assert start(job, parent) == started
    (run,) = job.tracker.child_runs(parent)
    assert run.info.status == "RUNNING"
    assert run.data.tags["fgcme.commit.resumed"] == run.data.tags["fgcme.commit"]


@pytest.mark.parametrize("left", ["state.pt", "train/checkpoint_1"])
def test_a_concluded_training_keeps_its_result_and_no_state(job: Job, parent: str, left: str) -> None:
    started = start(job, parent)
    path = job.folder / left
    path.parent.mkdir(exist_ok=True)
    path.touch()
    assert read_result(job.folder) is None
    write_result(job)
    conclude(started)
    assert read_result(job.folder) == RESULT
    assert {path.name for path in job.folder.iterdir()} == {"run", "result.json"}
    assert job.tracker.find_run(started.run).info.status == "FINISHED"


def test_trainings_that_a_killed_driver_left_with_results_are_concluded_and_ended_ones_untouched(
    job: Job, parent: str, tracker: Tracker
) -> None:
    started, other = start(job, parent), start(replace(job, folder=job.folder.with_name("other")), parent)
    conclude(other)
    before = tracker.find_run(other.run).info.end_time
    (job.folder / "state.pt").touch()
    finish_leftovers([job, replace(other, run="")], parent)
    assert tracker.find_run(started.run).info.status == "FINISHED" and not (job.folder / "state.pt").exists()
    assert tracker.find_run(other.run).info.end_time == before
    finish_leftovers([], parent)


def test_a_result_is_one_line_in_per_cent() -> None:
    assert format_result(RESULT) == "fold 1, seed 0: best epoch 2 of 3, dev UA 50.0, test UA 25.0, WA 37.5"
