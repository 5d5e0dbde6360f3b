"""Blocks of utterances on Ray Data: one task prepares one block, and the driver only counts what tasks report."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pyarrow as pa

from fgcme.corpora.contract import Rejection
from fgcme.experiment import ScalingSettings
from pipelines.cluster import Progress, can_have_slot, concurrent_slots, map_blocks, ray_session, require_slot
from pipelines.preparing.block import PrepareTask, most_blocks, prepare_block

# Several tasks share a GPU: while one reads and aligns, another encodes.
_GPU_SHARE = 0.25


def prepare_on_ray(
    make: Callable[[float], Iterable[pa.Table]], utterances: int, task: PrepareTask, progress: Progress
) -> list[Rejection]:
    """Prepare utterances in blocks on Ray Data.

    Args:
        make: makes the blocks for a number of tasks at once, see `make_blocks`.
        utterances: how many there are.
        task: how to prepare, from where and where to.
        progress: shows each finished block.

    Returns:
        The utterances that were rejected.

    Raises:
        UserError: Ray has no CPU and will have none, or a task finds a setting that cannot be used.
    """
    rejections: list[Rejection] = []
    with ray_session():
        needs = task_needs(task)
        require_slot(needs, "preparing a corpus")
        slots = concurrent_slots(needs, "one block of utterances", most_blocks(utterances), progress.say)
        for outcomes in map_blocks(prepare_block, make(slots), needs, {"task": task}):
            rejected = [Rejection(**row) for row in outcomes.to_pylist() if row["reason"] is not None]
            rejections += rejected
            progress.advance("utterance", outcomes.num_rows, len(rejected))
    return rejections


def task_needs(task: PrepareTask) -> ScalingSettings:
    """What a task asks Ray for: a CPU, and a share of a GPU if it has use for one and Ray has one, or will have."""
    with_gpu = ScalingSettings(gpus_per_worker=_GPU_SHARE)
    return with_gpu if task.uses_neural_network and can_have_slot(with_gpu) else ScalingSettings()
