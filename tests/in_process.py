"""Trains what `train` and `ablate` plan in this process, one by one, for tests that need no runner."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from types import ModuleType

import pytest

from pipelines.runs import opening
from pipelines.runs.opening import OpenRun
from pipelines.training import worker
from pipelines.training.job import conclude, finish_leftovers, read_result
from pipelines.training.runner import Training, start_training


def train_in_process(verb: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[Training]:
    """Let a verb train without Ray.

    Args:
        verb: module of the verb.
        monkeypatch: ends it.

    Returns:
        All trainings that were done, in order; it grows while the verb runs.
    """
    trained: list[Training] = []

    def run_trainings(trainings: Sequence[Training], run: OpenRun, resume: str) -> None:
        done = [training for training in trainings if read_result(training.job.folder) is not None]
        if done:
            print(f"{len(done)} of {len(trainings)} trainings are there already")
        finish_leftovers([training.job for training in done], run.run_id)
        for training in trainings:
            if training not in done:
                started = start_training(training, run)
                worker.train(started.job, {})
                conclude(started.job)
                trained.append(training)

    monkeypatch.setattr(verb, "run_trainings", run_trainings)
    monkeypatch.setattr(opening, "ray_session", nullcontext)
    monkeypatch.setattr(opening, "require_slot", lambda scaling, purpose: None)
    return trained
