"""What is used of Ray beyond its public interface, in one place; the test names the version that it was tried with."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def node_types() -> list[Any]:
    """Kinds of nodes that an autoscaling cluster may start, each with `resources` and `max_count`; none elsewhere.

    No public function tells the bounds of an autoscaling cluster.
    """
    from ray._private.state import state

    config = state.get_cluster_config()
    return [] if config is None else list(config.node_group_configs)


def largest_resources() -> dict[str, float]:
    """What an autoscaling cluster may grow to, by resource name; Ray Data sizes its pools by this. Empty elsewhere."""
    from ray._private.state import state

    return {name: float(most) for name, most in (state.get_max_resources_from_cluster_config() or {}).items()}


@contextmanager
def agent_on_any_port() -> Iterator[None]:
    """Let the dashboard's agent of a Ray that is started in this block listen on any free port.

    `ray.init` has no parameter for it: its agents have one port, for which a second Ray of a machine waits for seconds.
    """
    from ray._private import parameter

    given = parameter.RayParams
    parameter.RayParams = functools.partial(given, dashboard_agent_listen_port=0)  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        parameter.RayParams = given  # type: ignore[misc]


def stay_on_loopback() -> None:
    """Keep Ray from replacing a loopback address by the machine's outer one, on whose interface it would then listen.

    The switch is meant for macOS and Windows, where it says that all of Ray is on one machine.
    """
    from ray._private import ray_constants

    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    # Ray has read the variable already if it was imported before us.
    ray_constants.ENABLE_RAY_CLUSTER = False
