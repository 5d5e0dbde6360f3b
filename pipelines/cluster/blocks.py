"""Blocks of rows on Ray Data: one task takes one block, and the driver only sees what tasks report."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa

from fgcme.errors import UserError
from fgcme.experiment import ScalingSettings
from fgcme.files import way_out


def map_blocks(
    function: Callable[..., pa.Table],
    blocks: Iterable[pa.Table],
    needs: ScalingSettings,
    arguments: dict[str, Any],
    concurrency: int | None = None,
) -> Iterator[pa.Table]:
    """Run a function on each block, within a session of Ray.

    Args:
        function: takes a block; runs on a worker.
        blocks: each leaves the driver as soon as it is made.
        needs: what a task asks Ray for.
        arguments: what the function takes by name besides.
        concurrency: how many tasks at once; None for as many as there is room for.

    Yields:
        What the function returns, in the order in which blocks are done.

    Raises:
        UserError: a task raised one.
    """
    import ray.data
    from ray.exceptions import RayError

    # Silence Ray's plans and stack traces: `progress` shows how far it is, the exception what went wrong.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    # Otherwise a worker's exception arrives without its class.
    ray.data.DataContext.get_current().raise_original_map_exception = True
    # Typed as Any: Ray's own annotations admit no function of Arrow tables.
    task: Any = functools.partial(run_on_disk, function)
    references: Any = [ray.put(block) for block in blocks]
    dataset = ray.data.from_arrow_refs(references).map_batches(
        task,
        fn_kwargs=arguments,
        concurrency=concurrency,
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=needs.cpus_per_worker,
        num_gpus=needs.gpus_per_worker or None,
    )
    try:
        outcomes: Any = dataset.iter_batches(batch_size=None, batch_format="pyarrow")
        yield from outcomes
    except RayError as error:
        if (user_error := find_user_error(error)) is not None:
            raise user_error from None
        raise


def run_on_disk(function: Callable[..., pa.Table], block: pa.Table, **arguments: Any) -> pa.Table:
    """Run a function on a block; a full disk or a missing right becomes a `UserError`, whose words Ray leaves alone.

    Args:
        function: see `map_blocks`.
        block: for the function.
        arguments: for the function.

    Raises:
        UserError: the function's own, or what its `OSError` means for a person.
    """
    try:
        return function(block, **arguments)
    except OSError as error:
        if (said := way_out(error)) is None:
            raise
        raise UserError(said) from error


def find_user_error(error: Exception) -> UserError | None:
    """The `UserError` with which a task failed, without the advice that Ray adds to its message; None for another."""
    cause = getattr(error, "cause", None)
    return UserError(str(cause).partition("\n")[0]) if isinstance(cause, UserError) else None
