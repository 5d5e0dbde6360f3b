"""Why trainings and trials fail, in one line for a person, and which failures a restart would repeat."""

from __future__ import annotations

import errno
from pathlib import Path

import ray
import ray.exceptions
import torch

from fgcme.errors import UserError
from fgcme.files import exists, read_text, write_text
from pipelines.training.job import Job

TAG = "fgcme.failure"
MAX_STARTS = 3
"""Starts without a finished epoch after which a training counts as failed."""
NODE_PATIENCE = 20.0
"""Seconds after which Ray knows that a node is dead whose connections were closed."""

_PROCESS_DIED = (
    ray.exceptions.RayActorError,
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.NodeDiedError,
    ray.exceptions.OutOfMemoryError,
)
_USER_ERROR = f"{UserError.__module__}.{UserError.__qualname__}: "


def failure_reason(error: Exception) -> str:
    """Why a training failed that was restarted as often as it may be, in one line.

    >>> failure_reason(ray.exceptions.WorkerCrashedError())
    'its process died, and again when it was restarted: it was killed, or the machine ran out of memory'
    """
    if isinstance(error, ray.exceptions.OutOfMemoryError):
        return "the machine ran out of memory, and again when it was restarted"
    if process_died(error):
        return "its process died, and again when it was restarted: it was killed, or the machine ran out of memory"
    return last_line(error).removeprefix(_USER_ERROR)


def process_died(error: Exception) -> bool:
    """Whether an error of Ray says that a process, or its machine, is gone."""
    return isinstance(error, _PROCESS_DIED)


def lost_machine(error: Exception | None, node: str) -> bool | None:
    """Whether a process was lost with its machine; None if Ray cannot say so yet.

    When a machine dies Ray may only know that a connection was reset, and list the node as dead some seconds later.

    Args:
        error: that Ray raised for the process.
        node: on which it ran; empty if that is not known.
    """
    if isinstance(error, ray.exceptions.NodeDiedError):
        return True
    if isinstance(error, ray.exceptions.ActorDiedError) and (error.preempted or "node has died" in str(error)):
        return True
    if node and node in dead_nodes():
        return True
    return None if isinstance(error, ray.exceptions.ActorUnavailableError) else False


def dead_nodes() -> set[str]:
    """The nodes that Ray lists as dead."""
    return {node["NodeID"] for node in ray.nodes() if not node["Alive"]}  # type: ignore[no-untyped-call]


def permanent_reason(error: Exception) -> str | None:
    """Why a restart would fail as well, in one line; None if it may succeed.

    >>> permanent_reason(UserError("glove.txt: no such file")), permanent_reason(ValueError("odd"))
    ('glove.txt: no such file', None)
    """
    if isinstance(error, ray.exceptions.RayTaskError) and isinstance(error.cause, Exception):
        error = error.cause
    if isinstance(error, UserError):
        return str(error)
    # Ray Train passes a worker's error on as text.
    if (line := last_line(error)).startswith(_USER_ERROR):
        return line.removeprefix(_USER_ERROR)
    # PyTorch's CPU allocator raises a plain RuntimeError.
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return f"out of memory: {str(error).partition(chr(10))[0]}".rstrip(": ")
    return None


def disk_full(error: BaseException) -> bool:
    """Whether a disk has no room left."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def last_line(error: Exception) -> str:
    """The last line of an error's text: after a traceback, the error itself."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


def recorded_failure(job: Job) -> str | None:
    """Why the training failed, or None if it did not."""
    return read_text(_file(job)) if exists(_file(job)) else None


def record_failure(job: Job, reason: str) -> None:
    """Record in the training's folder and in its run why it failed, and end the run as failed."""
    write_text(_file(job), reason)
    job.tracker.set_tags(job.run, {TAG: reason})
    job.tracker.end_run(job.run, "FAILED")


def clear_failure(job: Job) -> None:
    """Delete the record of an earlier failure, as the training starts again."""
    if recorded_failure(job) is not None:
        job.tracker.set_tags(job.run, {TAG: ""})
        _file(job).unlink()


def _file(job: Job) -> Path:
    return job.folder / "failure"
