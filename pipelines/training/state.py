"""The state of a training after an epoch, from which it resumes: in a file, or as Ray Train's checkpoint."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from fgcme.files import atomic_write, read_bytes
from pipelines.training.failure import permanent_reason

STATE = "state.pt"
"""Name of the file, in a training's folder and in a checkpoint."""


def save_state(state: Mapping[str, Any], path: Path) -> None:
    """Write a state, whole or not at all.

    Raises:
        OSError: the disk is full, or cannot be written to.
    """
    with atomic_write(path) as partial, partial.open("wb") as file:
        try:
            # To Python's file: given a path, PyTorch's writer hides the disk's error.
            torch.save(state, file)
        except RuntimeError as error:
            # It goes on after the disk's error, and then complains of its own place in the file.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def load_state(path: Path) -> dict[str, Any] | None:
    """The saved state; None if there is none, or only a damaged one, as after a power failure.

    Raises:
        OSError: the disk cannot be read.
        Exception: decoding failed for a lasting reason (`permanent_reason`), not because the file is damaged.
    """
    try:
        # Read before decoding: PyTorch raises OSError for a damaged file as well.
        content = read_bytes(path)
    except FileNotFoundError:
        return None
    try:
        return dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
    except Exception as error:
        if permanent_reason(error):
            raise
        return None


def load_checkpoint() -> dict[str, Any] | None:
    """The state of Ray Train's last checkpoint, in one of its workers; None if there is none that can be read."""
    import ray.train

    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        return load_state(Path(folder) / STATE)


def report_with_state(metrics: dict[str, Any], state: Mapping[str, Any], rank: int) -> None:
    """Report an epoch to Ray Train, with its state as the checkpoint.

    Args:
        metrics: of the epoch.
        state: the same in all workers; that of rank 0 is saved.
        rank: of this worker.
    """
    import ray.train

    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None
        if rank == 0:
            save_state(state, Path(folder) / STATE)
            checkpoint = ray.train.Checkpoint.from_directory(folder)
        ray.train.report(metrics, checkpoint=checkpoint)
