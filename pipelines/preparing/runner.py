"""Blocks of utterances on Ray Data: one task prepares one block, and the driver only counts what tasks report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa

from fgcme.corpora.contract import Rejection
from fgcme.errors import UserError
from fgcme.experiment import ScalingSettings
from pipelines.cluster import Progress, can_have_slot, concurrent_slots, ray_session, require_slot
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
        import ray.data
        from ray.exceptions import RayError

        # Silence Ray's plans and stack traces: `progress` shows how far it is, the exception what went wrong.
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        # Otherwise a worker's exception arrives without its class.
        ray.data.DataContext.get_current().raise_original_map_exception = True
        needs = task_needs(task)
        require_slot(needs, "preparing a corpus")
        slots = concurrent_slots(needs, "one block of utterances", most_blocks(utterances), progress.say)
        # Typed as Any: Ray's own annotations admit no function of Arrow tables.
        function: Any = prepare_block
        # Each block leaves the driver as soon as it is made.
        blocks: Any = [ray.put(block) for block in make(slots)]
        dataset = ray.data.from_arrow_refs(blocks).map_batches(
            function,
            fn_kwargs={"task": task},
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=needs.cpus_per_worker,
            num_gpus=needs.gpus_per_worker or None,
        )
        try:
            outcomes: Any
            for outcomes in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
                rejected = [Rejection(**row) for row in outcomes.to_pylist() if row["reason"] is not None]
                rejections += rejected
                progress.advance("utterance", outcomes.num_rows, len(rejected))
        except RayError as error:
            if (user_error := find_user_error(error)) is not None:
                raise user_error from None
            raise
    return rejections


def task_needs(task: PrepareTask) -> ScalingSettings:
    """What a task asks Ray for: a CPU, and a share of a GPU if it has use for one and Ray has one, or will have."""
    with_gpu = ScalingSettings(gpus_per_worker=_GPU_SHARE)
    return with_gpu if task.uses_neural_network and can_have_slot(with_gpu) else ScalingSettings()


def find_user_error(error: Exception) -> UserError | None:
    """The `UserError` with which a task failed, without the advice that Ray adds to its message; None for another."""
    cause = getattr(error, "cause", None)
    return UserError(str(cause).partition("\n")[0]) if isinstance(cause, UserError) else None
