"""All private interfaces of Ray that are used here; their test names the version that it was tried with."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def node_types() -> list[Any]:
    """Kinds of nodes that an autoscaling cluster may start, each with `resources` and `max_count`; none elsewhere.

    Ray has no public function for the bounds of an autoscaling cluster.
    """
    from ray._private.state import state

    config = state.get_cluster_config()
    return [] if config is None else list(config.node_group_configs)


def largest_resources() -> dict[str, float]:
    """What an autoscaling cluster may grow to, by resource name; empty elsewhere. Ray Data sizes its pools by this."""
    from ray._private.state import state

    return {name: float(largest) for name, largest in (state.get_max_resources_from_cluster_config() or {}).items()}


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
