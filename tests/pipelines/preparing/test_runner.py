"""Preparing on Ray Data, without Ray: what a task asks for, and which errors reach the user."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ray.exceptions import RayTaskError

from fgcme.errors import UserError
from pipelines.preparing import PrepareTask
from pipelines.preparing.runner import find_user_error, gpus_per_task

PLAIN = PrepareTask(Path("corpus"), Path("prepared"), aligner={"method": "sphinx"}, features={"kind": "log_mel"})


@pytest.mark.parametrize(
    ("task", "gpus", "share"),
    [
        (PLAIN, 1, None),
        (replace(PLAIN, aligner={"method": "ctc"}), 1, 0.25),
        (replace(PLAIN, features={"kind": "speech_encoder"}), 2, 0.25),
        (replace(PLAIN, features={"kind": "speech_encoder"}), 0, None),
    ],
)
def test_only_tasks_with_a_neural_network_share_a_gpu(task: PrepareTask, gpus: int, share: float | None) -> None:
    assert gpus_per_task(task, {"CPU": 2, "GPU": gpus}) == share
    assert gpus_per_task(task, {"CPU": 2}) is None


def test_a_user_error_of_a_task_is_one_line_and_other_errors_are_raised() -> None:
    def failed(cause: Exception) -> RayTaskError:
        return RayTaskError("prepare_block", "a traceback", cause)

    found = find_user_error(failed(UserError("prepare.alignment.folder: no such folder\nRay's advice")))
    assert str(found) == "prepare.alignment.folder: no such folder"
    assert find_user_error(failed(ValueError("a bug"))) is None
    assert find_user_error(RuntimeError("not of a task")) is None
