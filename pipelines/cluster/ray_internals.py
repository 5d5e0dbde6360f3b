"""All private interfaces of Ray that are used here; their test names the version that it was tried with."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from fgcme.addresses import without_passwords

# The label that holds the type of a node.
_NODE_TYPE = "ray.io/node-group"
# The type of a node that no autoscaler started, by version 1.
_OWN_TYPE = re.compile("node_[0-9a-f]+")


def autoscaler_version() -> int | None:
    """The version, 1 or 2, of the autoscaler that starts and stops the cluster's nodes; None where the nodes are fixed.

    Fixed clusters have an autoscaler too, which only looks on.
    """
    import ray
    from ray.autoscaler.v2.utils import is_autoscaler_v2

    if is_autoscaler_v2(fetch_from_server=True):
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        # The type of a node is named by what starts it; nodes started by hand have none.
        return 2 if any(node["Alive"] and node["Labels"].get(_NODE_TYPE) for node in nodes) else None
    report = autoscaler_1_status().get("autoscaler_report")
    # An autoscaler that only looks on calls each node a type of its own.
    looks_on = report is None or any(_OWN_TYPE.fullmatch(name) for name in report["active_nodes"])
    return None if looks_on else 1


def autoscaler_1_status() -> dict[str, Any]:
    """What an autoscaler of version 1 wrote down in its last round: `time`, `autoscaler_report`; empty at first."""
    from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
    from ray.experimental.internal_kv import _internal_kv_get

    status: dict[str, Any] = json.loads(_internal_kv_get(DEBUG_AUTOSCALING_STATUS) or "{}")
    return status


@dataclass(frozen=True)
class Autoscaler2Status:
    """What an autoscaler of version 2 last said.

    Attributes:
        version: of the cluster's state, one more at each look.
        seen: the version that the autoscaler has answered to.
        asked: how many bundles it is asked for.
        refused: whether it cannot make room for all that it was asked for; then it makes none.
    """

    version: int
    seen: int
    asked: int
    refused: bool


def autoscaler_2_status() -> Autoscaler2Status:
    """Look at what an autoscaler of version 2 last said. Ray's public function leaves out what it refuses."""
    from ray.core.generated import autoscaler_pb2
    from ray.experimental.internal_kv import internal_kv_get_gcs_client

    gcs: Any = internal_kv_get_gcs_client()  # type: ignore[no-untyped-call]
    reply = autoscaler_pb2.GetClusterStatusReply()  # type: ignore[attr-defined]
    reply.ParseFromString(gcs.get_cluster_status(timeout_s=10))
    state, cluster = reply.autoscaling_state, reply.cluster_resource_state
    return Autoscaler2Status(
        version=cluster.cluster_resource_state_version,
        seen=state.last_seen_cluster_resource_state_version,
        asked=sum(
            request.count for asked in cluster.cluster_resource_constraints for request in asked.resource_requests
        ),
        refused=bool(state.infeasible_cluster_resource_constraints),
    )


@contextmanager
def agent_on_any_port() -> Iterator[None]:
    """Let the dashboard's agent of a Ray that is started in this block listen on any free port.

    `ray.init` has no parameter for it: all agents use one port, for which a second Ray on the machine waits seconds.
    """
    from ray._private import parameter

    given = parameter.RayParams
    parameter.RayParams = functools.partial(given, dashboard_agent_listen_port=0)  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        parameter.RayParams = given  # type: ignore[misc]


@contextmanager
def command_without_passwords() -> Iterator[None]:
    """Let Ray keep and log the command of this program without the passwords of the addresses in it."""
    from ray._private import utils

    given = utils.get_entrypoint_name
    utils.get_entrypoint_name = lambda: without_passwords(given())  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        utils.get_entrypoint_name = given


def job_of_installed_code() -> Any:
    """Settings of a job whose workers do not search the driver's folders for modules.

    Ray puts the driver's working directory first on its workers' path: a folder `pipelines` or `platform` of the user's
    there would be imported instead of ours or the standard library's.
    """
    from ray.job_config import JobConfig

    class InstalledCode(JobConfig):
        def _serialize(self) -> str:
            self._py_driver_sys_path.clear()
            return super()._serialize()

    return InstalledCode()


def stay_on_loopback() -> None:
    """Keep Ray from replacing a loopback address by the machine's outer one, and from listening on that.

    The switch is meant for macOS and Windows, where it says that all of Ray runs on one machine.
    """
    from ray._private import ray_constants

    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    # Ray may have read the variable already, when it was imported.
    ray_constants.ENABLE_RAY_CLUSTER = False


def keep_remarks_out() -> None:
    """Keep what Ray publishes to all drivers, such as that nodes are lost or tasks wait, out of the user's terminal.

    It stays in Ray's logs. The switch that keeps out what workers print does not hold for it.
    """
    from ray._private import worker

    worker.print_to_stdstream = _ignore


def _ignore(*_: object, **__: object) -> None:
    pass
