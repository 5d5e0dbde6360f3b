"""Why a training failed is kept with it and its run, in words for a person, until it is tried again."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray.exceptions import ActorDiedError, OutOfMemoryError, RayTaskError

from fgcme.errors import UserError
from fgcme.experiment import Experiment
from pipelines.training import failure
from pipelines.training.job import Job
from tests import small_corpus
from tests.store import make_tracker


@pytest.fixture
def job(tmp_path: Path) -> Job:
    tracker = make_tracker(tmp_path)
    experiment: Experiment = small_corpus.experiment()
    run = tracker.start(tracker.experiment("failures"), "fold 0")
    return Job(experiment, tmp_path, "0" * 16, 0, 0, tmp_path, tracker, run)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ActorDiedError(), "its process died, and again"),
        (OutOfMemoryError("Task was killed due to the node running low on memory."), "the machine ran out of memory"),
        (
            RayTaskError("train()", "Traceback\n  ...\nfgcme.errors.UserError: a.txt: no such file", UserError()),
            "a.txt:",
        ),
        (RayTaskError("train()", "Traceback\n  ...\nValueError: odd", ValueError()), "ValueError: odd"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_error_of_ray_is_one_line_for_a_person(error: Exception, said: str) -> None:
    assert failure.failure_reason(error).startswith(said)
    assert "\n" not in failure.failure_reason(error)


def test_a_reason_is_kept_with_the_training_and_its_run_until_it_is_tried_again(job: Job) -> None:
    assert failure.noted(job) is None
    failure.record(job, "a.txt: no such file")
    run = job.tracker.find(job.run)
    assert (run.info.status, run.data.tags["fgcme.failure"]) == ("FAILED", "a.txt: no such file")
    assert failure.noted(job) == "a.txt: no such file"
    failure.forget(job)
    assert failure.noted(job) is None
    assert job.tracker.find(job.run).data.tags["fgcme.failure"] == ""
