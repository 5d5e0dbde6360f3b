"""Clusters that grow: their autoscaler is asked how much room it can make.

Nothing in Ray says how far a cluster may grow. An autoscaler of version 2 makes room for all that it is asked for, or
says that it cannot and makes none; one of version 1 makes as much as it can, and lists the nodes that it starts. What
they were asked for is not asked for any longer once they have answered: from then on the work that waits counts, and
nodes without work end after the cluster's idle time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from fgcme.errors import UserError
from pipelines.cluster import ray_internals
from pipelines.cluster.capacity import worker_capacity

# Seconds after which an autoscaler that has not answered counts as dead. It looks every 5 s, and starts nodes between.
_PATIENCE = 120.0
_PAUSE = 0.5
# Asked for at first; and at most, because an autoscaler of version 1 works long on more.
_FIRST, _MOST = 64, 1024

Bundle = Mapping[str, float]


def cluster_grows() -> bool:
    """Whether an autoscaler starts nodes when work waits for them."""
    return ray_internals.autoscaler_version() is not None


def ask_for_room(bundle: Bundle, workers: int, wanted: int, present: int) -> int | None:
    """Ask the autoscaler of a cluster that grows to make room.

    Args:
        bundle: what one worker needs, by resource name.
        workers: how many of them run together.
        wanted: how often, at most.
        present: how often they fit now.

    Returns:
        How often they will fit; None if that cannot be said.

    Raises:
        UserError: the autoscaler does not answer.
    """
    from ray.autoscaler.sdk import request_resources

    try:
        if ray_internals.autoscaler_version() == 2:
            return _largest_accepted(bundle, workers, wanted, present)
        fit = present + _started(bundle, min(workers * wanted, _MOST)) // workers
        return min(fit, wanted) or None
    finally:
        request_resources(bundles=[])


def _largest_accepted(bundle: Bundle, workers: int, wanted: int, present: int) -> int:
    """How much an autoscaler of version 2 makes room for: twice as much each time, then by bisection."""
    accepted, refused, asked = present, wanted + 1, min(max(_FIRST, 2 * present), wanted)
    while refused - accepted > 1:
        if _accepts(bundle, workers * asked):
            accepted = asked
        else:
            refused = asked
        asked = min(2 * accepted, wanted) if refused > wanted else (accepted + refused) // 2
    return accepted


def _accepts(bundle: Bundle, count: int) -> bool:
    """Whether an autoscaler of version 2 makes room for so many."""
    from ray.autoscaler.sdk import request_resources

    asked_at: int | None = None
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        status = ray_internals.autoscaler_2_status()
        if status.asked != count:
            # Not asked yet, or another driver has asked for something else meanwhile.
            request_resources(bundles=[dict(bundle)] * count)
            asked_at = None
        elif asked_at is None:
            asked_at = status.version
        elif status.seen > asked_at:
            return not status.refused
        time.sleep(_PAUSE)
    raise _silent()


def _started(bundle: Bundle, count: int) -> int:
    """For how many an autoscaler of version 1 is starting nodes, once it has been asked for room for so many."""
    from ray.autoscaler.sdk import request_resources

    request_resources(bundles=[dict(bundle)] * count)
    before = ray_internals.autoscaler_1_status().get("time")
    fitting: list[int] = []
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        status = ray_internals.autoscaler_1_status()
        if status.get("time") != before:
            before = status.get("time")
            nodes = starting_nodes(status.get("autoscaler_report") or {})
            fitting.append(worker_capacity(nodes, bundle.get("CPU", 0.0), bundle.get("GPU", 0.0)))
        # The first round may have begun before it was asked, and in the second nodes of the first may have started.
        if len(fitting) == 2:
            return max(fitting)
        time.sleep(_PAUSE)
    raise _silent()


def starting_nodes(report: Mapping[str, Any]) -> list[dict[str, float]]:
    """The resources of each node that is being started, by the report of an autoscaler of version 1.

    It gives only their sum: they count as equal.

    >>> starting_nodes({"pending_launches": {"gpu": 1}, "pending_nodes": [], "pending_resources": {"CPU": 8, "GPU": 1}})
    [{'CPU': 8.0, 'GPU': 1.0}]
    """
    count = len(report.get("pending_nodes", ())) + sum(report.get("pending_launches", {}).values())
    return [{name: amount / count for name, amount in report.get("pending_resources", {}).items()}] * count


def _silent() -> UserError:
    return UserError(
        f"the autoscaler of this cluster has not answered for {_PATIENCE:g} s: see `ray status` on the head, and its "
        "log monitor.log"
    )
