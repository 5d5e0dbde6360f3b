"""Blocks of utterances on Ray Data: one task prepares one block, and the driver only counts what tasks report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyarrow as pa

from fgcme.corpora.contract import Rejection
from fgcme.errors import UserError
from pipelines.cluster import Progress, cluster_resources, ray_session, require_capacity
from pipelines.preparing.block import PrepareTask, prepare_block

# Several tasks share a GPU: utterances go through it one by one, which leaves most of it idle.
_GPU_SHARE = 0.25


def prepare_on_ray(
    make: Callable[[float], Iterable[pa.Table]], task: PrepareTask, progress: Progress
) -> list[Rejection]:
    """Prepare utterances in blocks on Ray Data.

    Args:
        make: makes the blocks for a number of CPUs, see `make_blocks`.
        task: how to prepare, from where and where to.
        progress: shows each finished block.

    Returns:
        The utterances that were rejected.

    Raises:
        UserError: Ray has no CPU, or a task finds a setting that cannot be used.
    """
    rejections: list[Rejection] = []
    with ray_session():
        import ray.data
        from ray.exceptions import RayError

        # Silence Ray's plans and stack traces: `progress` shows how far it is, the exception what went wrong.
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        # Otherwise a worker's exception arrives without its class.
        ray.data.DataContext.get_current().raise_original_map_exception = True
        require_capacity(1, 0, "preparing a corpus")
        resources = cluster_resources()
        # Typed as Any: Ray's own annotations admit no function of Arrow tables.
        function: Any = prepare_block
        # Each block leaves the driver as soon as it is made.
        blocks: Any = [ray.put(block) for block in make(resources["CPU"])]
        dataset = ray.data.from_arrow_refs(blocks).map_batches(
            function,
            fn_kwargs={"task": task},
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=1,
            num_gpus=gpus_per_task(task, resources),
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


def gpus_per_task(task: PrepareTask, resources: Mapping[str, float]) -> float | None:
    """Share of a GPU that a task asks Ray for; None where it has no use for one or Ray has none.

    Args:
        task: what the tasks do.
        resources: all that Ray has, by resource name.
    """
    return _GPU_SHARE if task.uses_neural_network and resources.get("GPU") else None


def find_user_error(error: Exception) -> UserError | None:
    """The `UserError` with which a task failed, without the advice that Ray adds to its message; None for another."""
    cause = getattr(error, "cause", None)
    return UserError(str(cause).partition("\n")[0]) if isinstance(cause, UserError) else None
