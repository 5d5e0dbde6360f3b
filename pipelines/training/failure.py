"""Trainings that failed: why, kept with the training and with its MLflow run until it is completed."""

from __future__ import annotations

from pathlib import Path

import ray.exceptions

from fgcme.errors import UserError
from fgcme.files import write_text
from pipelines.training.job import Job, last_line

TAG = "fgcme.failure"
# Only a process that dies is tried again: what the user has to put right would happen again just so.
RETRIES = 2

_DIED = (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError)
_USER_ERROR = f"{UserError.__module__}.{UserError.__qualname__}: "


def failure_reason(error: Exception) -> str:
    """What an error of Ray comes down to, for a person, in one line.

    >>> failure_reason(ray.exceptions.WorkerCrashedError())
    'its process died, and again when it was tried anew: it was killed, or the machine ran out of memory'
    """
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return "the machine ran out of memory, and again when it was tried anew"
    if isinstance(error, _DIED):
        return "its process died, and again when it was tried anew: it was killed, or the machine ran out of memory"
    return last_line(error).removeprefix(_USER_ERROR)


def note(job: Job, why: str) -> None:
    """Keep with the training why it failed; what a worker does, which leaves its run to the driver."""
    write_text(_file(job), why)


def noted(job: Job) -> str | None:
    """Why the training failed, or None if it did not."""
    return _file(job).read_text(encoding="utf-8") if _file(job).exists() else None


def record(job: Job, why: str) -> None:
    """Keep with the training and with its run why it failed, and end the run as failed."""
    note(job, why)
    job.tracker.tag(job.run, {TAG: why})
    job.tracker.finish(job.run, "FAILED")


def forget(job: Job) -> None:
    """Take back that the training failed, because it is tried again."""
    if noted(job) is not None:
        job.tracker.tag(job.run, {TAG: ""})
        _file(job).unlink()


def _file(job: Job) -> Path:
    return job.folder / "failure"
