"""Why trainings and trials fail, in words for a person, and which failures would happen again."""

from __future__ import annotations

import errno
from pathlib import Path

import ray.exceptions
import torch

from fgcme.errors import UserError
from fgcme.files import write_text
from pipelines.training.job import Job

TAG = "fgcme.failure"
MAX_STARTS = 3
"""So often is a training started without getting one epoch further, before it counts as failed."""

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


def permanent_reason(error: Exception) -> str | None:
    """Why a training cannot succeed, in one line; None if it may succeed when it is started again.

    >>> permanent_reason(UserError("glove.txt: no such file")), permanent_reason(ValueError("odd"))
    ('glove.txt: no such file', None)
    """
    if isinstance(error, ray.exceptions.RayTaskError) and isinstance(error.cause, Exception):
        error = error.cause
    if isinstance(error, UserError):
        return str(error)
    # Out of Ray Train a worker's error comes as text.
    if (line := last_line(error)).startswith(_USER_ERROR):
        return line.removeprefix(_USER_ERROR)
    # PyTorch's allocator of ordinary memory has no error of its own.
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return f"out of memory: {str(error).partition(chr(10))[0]}".rstrip(": ")
    return None


def disk_full(error: BaseException) -> bool:
    """Whether a disk has no room left."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def last_line(error: Exception) -> str:
    """The last line of an error's text, which is what an error of Ray comes down to."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


def recorded_failure(job: Job) -> str | None:
    """Why the training failed, or None if it did not."""
    return _file(job).read_text(encoding="utf-8") if _file(job).exists() else None


def record_failure(job: Job, reason: str) -> None:
    """Keep with the training and with its run why it failed, and end the run as failed."""
    write_text(_file(job), reason)
    job.tracker.set_tags(job.run, {TAG: reason})
    job.tracker.end_run(job.run, "FAILED")


def clear_failure(job: Job) -> None:
    """Delete the record that the training failed, because it is started again."""
    if recorded_failure(job) is not None:
        job.tracker.set_tags(job.run, {TAG: ""})
        _file(job).unlink()


def _file(job: Job) -> Path:
    return job.folder / "failure"
