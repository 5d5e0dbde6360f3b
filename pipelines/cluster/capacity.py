"""How much work the cluster has room for, asked before anything waits for what it can never have."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from fgcme.errors import UserError
from fgcme.experiment import ScalingSettings
from pipelines.cluster import ray_internals


def require_capacity(cpus: float, gpus: float, purpose: str, workers: int = 1) -> None:
    """Refuse what the cluster can never give: Ray would wait for it for ever, without a word.

    Counts every node, busy or not; on a cluster that grows, every node it may grow to.

    Args:
        cpus: CPUs that one worker needs, on one node.
        gpus: GPUs that one worker needs, on one node.
        purpose: what for, as in `one training`.
        workers: how many of them are needed at once.

    Raises:
        UserError: the cluster has fewer, or its nodes have no room for so many workers.
    """
    way_out = "ask for less, or set RAY_ADDRESS to a larger cluster"
    has = cluster_resources()
    for name, needed in (("CPU", workers * cpus), ("GPU", workers * gpus)):
        if needed > has.get(name, 0.0):
            raise UserError(f"{purpose} needs {needed:g} {name}s at once and Ray has {has.get(name, 0.0):g}: {way_out}")
    if (fit := capacity(cpus, gpus)) < workers:
        raise UserError(
            f"{purpose} needs {workers} times {cpus:g} CPUs and {gpus:g} GPUs, each on one node, and the nodes have "
            f"room for {fit}: {way_out}"
        )


def concurrent_slots(scaling: ScalingSettings, purpose: str) -> int:
    """How many trainings, or trials, run at once: as many as fit, at most `scaling.max_concurrent`.

    Args:
        scaling: what each of them needs.
        purpose: what one of them is, as in `one training`.

    Raises:
        UserError: not even one fits.
    """
    workers = max(scaling.workers, 1)
    require_capacity(scaling.cpus_per_worker, scaling.gpus_per_worker, purpose, workers)
    fitting = capacity(scaling.cpus_per_worker, scaling.gpus_per_worker) // workers
    return min(fitting, scaling.max_concurrent or fitting)


def capacity(cpus: float, gpus: float) -> int:
    """How many workers the cluster has room for at once, or may grow to have.

    Args:
        cpus: CPUs that one worker needs, on one node.
        gpus: GPUs that one worker needs, on one node.
    """
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    present = worker_capacity([node["Resources"] for node in nodes if node["Alive"]], cpus, gpus)
    grown = 0
    for kind in ray_internals.node_types():
        # There may be any number of nodes of a kind that counts -1.
        most = kind.max_count if kind.max_count >= 0 else sys.maxsize
        grown += most * worker_capacity([dict(kind.resources)], cpus, gpus)
    # A cluster that grows may also be limited in all that it has.
    return min(max(present, grown), worker_capacity([cluster_resources()], cpus, gpus))


def worker_capacity(nodes: Iterable[Mapping[str, float]], cpus: float, gpus: float) -> int:
    """How many workers fit on some nodes at once; none is spread over two nodes, and no part of one over two GPUs.

    Args:
        nodes: what each of them has, by resource name.
        cpus: CPUs that one worker needs.
        gpus: GPUs that one worker needs.

    >>> worker_capacity([{"CPU": 8, "GPU": 2}], 1, 0.6)
    2
    """

    def times(available: float, needed: float) -> int:
        # A tenth fits three times into three tenths, though not in floating point.
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
    """All that Ray has, by resource name, or may grow to."""
    import ray

    has: dict[str, float] = dict(ray.cluster_resources())  # type: ignore[no-untyped-call]
    for name, most in ray_internals.largest_resources().items():
        has[name] = max(has.get(name, 0.0), most)
    return has
