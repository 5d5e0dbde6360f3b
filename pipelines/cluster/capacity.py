"""How much work the nodes of the cluster have room for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fgcme.errors import UserError


def require_capacity(cpus: float, gpus: float, purpose: str, workers: int = 1) -> None:
    """Refuse what the nodes of the cluster can never give, for which Ray would wait for ever in silence.

    Counts every node, busy or not.

    Args:
        cpus: CPUs that one worker needs, on one node.
        gpus: GPUs that one worker needs, on one node.
        purpose: what for, as in `one training`.
        workers: how many workers are needed at once.

    Raises:
        UserError: the cluster has fewer, or its nodes have no room for so many workers.
    """
    way_out = "ask for less, or set RAY_ADDRESS to a larger cluster"
    resources = cluster_resources()
    for name, needed in (("CPU", workers * cpus), ("GPU", workers * gpus)):
        available = resources.get(name, 0.0)
        if needed > available:
            raise UserError(f"{purpose} needs {needed:g} {name}s at once and Ray has {available:g}: {way_out}")
    if (fit := capacity(cpus, gpus)) < workers:
        raise UserError(
            f"{purpose} needs {workers} times {cpus:g} CPUs and {gpus:g} GPUs, each on one node, and the nodes have "
            f"room for {fit}: {way_out}"
        )


def capacity(cpus: float, gpus: float) -> int:
    """How many workers the cluster has room for at once, on the nodes that it has now.

    Args:
        cpus: CPUs that one worker needs, on one node.
        gpus: GPUs that one worker needs, on one node.
    """
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return worker_capacity([node["Resources"] for node in nodes if node["Alive"]], cpus, gpus)


def worker_capacity(nodes: Iterable[Mapping[str, float]], cpus: float, gpus: float) -> int:
    """How many workers fit on some nodes at once; none is spread over two nodes, and no share of a GPU over two GPUs.

    Args:
        nodes: what each node has, by resource name.
        cpus: CPUs that one worker needs.
        gpus: GPUs that one worker needs.

    >>> worker_capacity([{"CPU": 8, "GPU": 2}], 1, 0.6)
    2
    """

    def times(available: float, needed: float) -> int:
        # In floating point 0.3 / 0.1 is less than 3.
        return int(available / needed + 1e-9)

    count = 0
    for node in nodes:
        room = [times(node.get("CPU", 0.0), cpus)]
        if gpus:
            available = node.get("GPU", 0.0)
            room.append(int(available) * times(1, gpus) if gpus < 1 else times(available, gpus))
        count += min(room)
    return count


def cluster_resources() -> dict[str, float]:
    """All that Ray has now, by resource name."""
    import ray

    return dict(ray.cluster_resources())  # type: ignore[no-untyped-call]
