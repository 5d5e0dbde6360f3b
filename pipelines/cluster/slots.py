"""How many trainings, trials or blocks run at once: as many as fit, on a cluster that grows as many as will fit."""

from __future__ import annotations

from collections.abc import Callable

from fgcme.errors import UserError
from fgcme.experiment import ScalingSettings
from pipelines.cluster.capacity import capacity, require_capacity
from pipelines.cluster.growing import ask_for_room, cluster_grows


def require_slot(scaling: ScalingSettings, purpose: str) -> None:
    """Refuse what the cluster can never give, for which Ray would wait for ever in silence.

    Args:
        scaling: what is needed.
        purpose: what for, as in `one training`.

    Raises:
        UserError: not one fits, and no autoscaler starts nodes, or it says that it can start none for it.
    """
    if can_have_slot(scaling) is not False:
        return
    if cluster_grows():
        raise UserError(
            f"{purpose} needs {needs_of(scaling)}, and the cluster's autoscaler cannot start nodes for that: ask for "
            "less, or for larger or more nodes in the cluster's configuration"
        )
    require_capacity(scaling.cpus_per_worker, scaling.gpus_per_worker, purpose, max(scaling.workers, 1))


def can_have_slot(scaling: ScalingSettings) -> bool | None:
    """Whether one fits, now or when the cluster has grown for it; None if its autoscaler does not say."""
    if free_slots(scaling):
        return True
    if not cluster_grows():
        return False
    room = ask_for_room(bundle_of(scaling), max(scaling.workers, 1), wanted=1, present=0)
    return None if room is None else room > 0


def concurrent_slots(scaling: ScalingSettings, purpose: str, wanted: int, say: Callable[[str], object] = print) -> int:
    """How many run at once: as many as fit, at most `scaling.max_concurrent`.

    On a cluster that grows `scaling.max_concurrent` is taken at its word; without it, the cluster is asked to grow for
    all of them, and as many run at once as it makes room for.

    Args:
        scaling: what each of them needs.
        purpose: what one of them is, as in `one training`.
        wanted: how many there are.
        say: prints a line where some of them wait for nodes.

    Raises:
        UserError: not even one fits, and none will.
    """
    present = free_slots(scaling)
    slots = most = min(wanted, scaling.max_concurrent or wanted)
    if present >= most:
        return most
    if not cluster_grows():
        require_slot(scaling, purpose)
        return present
    if scaling.max_concurrent is None:
        slots = ask_for_room(bundle_of(scaling), max(scaling.workers, 1), most, present) or most
    if present < slots:
        say(
            f"waiting for nodes: {slots} of {wanted} run at once, and {present} have room yet; {purpose} needs "
            f"{needs_of(scaling)}"
        )
    return slots


def free_slots(scaling: ScalingSettings) -> int:
    """How many fit on the nodes that the cluster has now, busy or not."""
    return capacity(scaling.cpus_per_worker, scaling.gpus_per_worker) // max(scaling.workers, 1)


def bundle_of(scaling: ScalingSettings) -> dict[str, float]:
    """What one worker of them takes, by resource name."""
    needs = {"CPU": scaling.cpus_per_worker, "GPU": scaling.gpus_per_worker}
    return {name: amount for name, amount in needs.items() if amount}


def needs_of(scaling: ScalingSettings) -> str:
    """What one of them takes, for reading."""
    each = f"{scaling.cpus_per_worker:g} CPUs and {scaling.gpus_per_worker:g} GPUs on one node"
    return f"{scaling.workers} times {each}" if scaling.workers > 1 else each
