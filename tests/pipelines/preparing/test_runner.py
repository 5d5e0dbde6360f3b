"""Preparing on Ray Data, without Ray: what a task asks for, and which errors reach the user."""

from __future__ import annotations

from pathlib import Path

from ray.exceptions import RayTaskError

from fgcme.errors import UserError
from fgcme.experiment import ScalingSettings
from pipelines.preparing import PrepareTask
from pipelines.preparing.runner import find_user_error, task_needs

PLAIN = PrepareTask(Path("corpus"), Path("prepared"), aligner={"method": "sphinx"}, features={"kind": "log_mel"})


def test_a_task_without_a_neural_network_asks_for_no_gpu_wherever_it_runs() -> None:
    assert task_needs(PLAIN) == ScalingSettings(cpus_per_worker=1, gpus_per_worker=0)


def test_a_user_error_of_a_task_is_one_line_and_other_errors_are_raised() -> None:
    def failed(cause: Exception) -> RayTaskError:
        return RayTaskError("prepare_block", "a traceback", cause)

    found = find_user_error(failed(UserError("prepare.alignment.folder: no such folder\nRay's advice")))
    assert str(found) == "prepare.alignment.folder: no such folder"
    assert find_user_error(failed(ValueError("a bug"))) is None
    assert find_user_error(RuntimeError("not of a task")) is None
