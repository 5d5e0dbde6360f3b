"""Why a training failed is recorded in its folder and its run, in one line, until it is restarted."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    NodeDiedError,
    OutOfMemoryError,
    RayTaskError,
    WorkerCrashedError,
)

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
    run = tracker.create_run(tracker.get_or_create_experiment("failures"), "fold 0")
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


def test_the_reason_of_a_failure_is_recorded_until_the_training_restarts(job: Job) -> None:
    assert failure.recorded_failure(job) is None
    failure.record_failure(job, "a.txt: no such file")
    run = job.tracker.find_run(job.run)
    assert (run.info.status, run.data.tags["fgcme.failure"]) == ("FAILED", "a.txt: no such file")
    assert failure.recorded_failure(job) == "a.txt: no such file"
    failure.clear_failure(job)
    assert failure.recorded_failure(job) is None
    assert job.tracker.find_run(job.run).data.tags["fgcme.failure"] == ""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (UserError("a.txt: no such file"), "a.txt: no such file"),
        (RayTaskError("train()", "Traceback\n  ...", UserError("a.txt: no such file")), "a.txt: no such file"),
        (RuntimeError("in a worker:\nfgcme.errors.UserError: a.txt: no such file"), "a.txt: no such file"),
        (MemoryError(), "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory.\nTried"), "out of memory: CUDA out of memory."),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory: DefaultCPUAllocator"),
        (ValueError("odd"), None),
        (ActorDiedError(), None),
        (OutOfMemoryError("Task was killed due to the node running low on memory."), None),
    ],
)
def test_only_a_failure_that_a_restart_would_repeat_is_permanent(error: Exception, reason: str | None) -> None:
    found = failure.permanent_reason(error)
    assert found is None if reason is None else str(found).startswith(reason)


def test_a_process_that_died_is_distinguished_from_an_error_of_its_own() -> None:
    assert failure.process_died(NodeDiedError("")) and failure.process_died(WorkerCrashedError())
    assert not failure.process_died(ValueError("odd"))


def test_a_full_disk_and_an_exhausted_quota_are_recognised() -> None:
    assert failure.disk_full(OSError(errno.ENOSPC, "")) and failure.disk_full(OSError(errno.EDQUOT, ""))
    assert not failure.disk_full(OSError(errno.EIO, "")) and not failure.disk_full(ValueError())


def actor_died(message: str) -> ActorDiedError:
    error = ActorDiedError()
    error.error_msg = message
    return error


@pytest.mark.parametrize(
    ("error", "node", "with_machine"),
    [
        (NodeDiedError(""), "living", True),
        (actor_died("The actor died because its node has died. Node Id: 1"), "", True),
        (actor_died("The actor is dead because its worker process has died."), "living", False),
        (actor_died("The actor is dead because its worker process has died."), "dead", True),
        (WorkerCrashedError(), "dead", True),
        (WorkerCrashedError(), "", False),
        # Ray may list the node as dead only later.
        (ActorUnavailableError("Connection reset by peer", None), "living", None),
        (ActorUnavailableError("Connection reset by peer", None), "dead", True),
        (None, "living", False),
    ],
)
def test_a_lost_machine_is_distinguished_from_a_lost_process_as_soon_as_ray_can(
    monkeypatch: pytest.MonkeyPatch, error: Exception | None, node: str, with_machine: bool | None
) -> None:
    monkeypatch.setattr(failure, "dead_nodes", lambda: {"dead"})
    assert failure.lost_machine(error, node) is with_machine
