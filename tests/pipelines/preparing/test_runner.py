"""Preparing on Ray Data, without Ray: what a task asks for, and which errors reach the user."""

from __future__ import annotations

from pathlib import Path

from fgcme.experiment import ScalingSettings
from pipelines.preparing import PrepareTask
from pipelines.preparing.runner import task_needs

PLAIN = PrepareTask(Path("corpus"), Path("prepared"), aligner={"method": "sphinx"}, features={"kind": "log_mel"})


def test_a_task_without_a_neural_network_asks_for_no_gpu_wherever_it_runs() -> None:
    assert task_needs(PLAIN) == ScalingSettings(cpus_per_worker=1, gpus_per_worker=0)
