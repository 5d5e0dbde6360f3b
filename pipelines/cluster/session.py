"""Ray: started on this machine alone, or joined where `RAY_ADDRESS` says; and asked whether it can ever do the work."""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from fgcme.errors import UserError

# A socket's path has at most 107 characters, and Ray adds this to its folder's.
_FOLDER_LIMIT = 107 - len("/session_2000-01-01_00-00-00_000000_1234567/sockets/plasma_store")


@contextmanager
def ray_session() -> Iterator[None]:
    """Ray, for the length of a `with` block.

    Without `RAY_ADDRESS` Ray runs on this machine only: it listens on the loopback address, sends no statistics, and
    writes into a temporary folder that is removed at the end. With `RAY_ADDRESS` that cluster is joined. Ray that runs
    in this process already is used as it is, and left running.

    What the workers print, and Ray's own remarks, stay in Ray's logs.

    Raises:
        UserError: the cluster of `RAY_ADDRESS` cannot be reached.
    """
    _set_environment()
    import ray

    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS") or "local"
    with _folder() if address == "local" else nullcontext() as folder:
        try:
            with _own_handler():
                if folder is None:
                    _join(address)
                else:
                    _start(folder)
            yield
        finally:
            ray.shutdown()


def require_capacity(cpus: float, gpus: float, purpose: str, workers: int = 1) -> None:
    """Refuse, before anything waits for ever, what the cluster can never give.

    Counts every node, busy or not; on a cluster that grows, every node it may grow to.

    Args:
        cpus, gpus: what one worker needs, on one node.
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


def capacity(cpus: float, gpus: float) -> int:
    """How many workers the cluster has room for at once, or may grow to have.

    Args:
        cpus, gpus: what one worker needs, on one node.
    """
    import ray
    from ray._private.state import state

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    there = worker_capacity([node["Resources"] for node in nodes if node["Alive"]], cpus, gpus)
    grown = 0
    if (config := state.get_cluster_config()) is not None:
        for kind in config.node_group_configs:
            # There may be any number of nodes of a kind that counts -1.
            most = kind.max_count if kind.max_count >= 0 else sys.maxsize
            grown += most * worker_capacity([dict(kind.resources)], cpus, gpus)
    # A cluster that grows may also be limited in all that it has.
    return min(max(there, grown), worker_capacity([cluster_resources()], cpus, gpus))


def worker_capacity(nodes: Iterable[Mapping[str, float]], cpus: float, gpus: float) -> int:
    """How many workers fit on some nodes at once; none is spread over two nodes, and no part of one over two GPUs.

    Args:
        nodes: what each of them has, by resource name.
        cpus, gpus: what one worker needs.

    >>> worker_capacity([{"CPU": 8, "GPU": 2}], 1, 0.6)
    2
    """

    def times(has: float, needed: float) -> int:
        # A tenth fits three times into three tenths, though not in floating point.
        return int(has / needed + 1e-9)

    count = 0
    for node in nodes:
        room = [times(node.get("CPU", 0.0), cpus)]
        if gpus:
            has = node.get("GPU", 0.0)
            room.append(int(has) * times(1, gpus) if gpus < 1 else times(has, gpus))
        count += min(room)
    return count


def cluster_resources() -> dict[str, float]:
    """All that Ray has, by resource name, or may grow to."""
    import ray

    # No public function tells the bounds of an autoscaling cluster; Ray Data sizes its pools by this one.
    from ray._private.state import state

    has: dict[str, float] = dict(ray.cluster_resources())  # type: ignore[no-untyped-call]
    for name, most in (state.get_max_resources_from_cluster_config() or {}).items():
        has[name] = max(has.get(name, 0.0), float(most))
    return has


def free_port() -> int:
    """A port of the loopback address that nobody has, and that is not among those which whoever asks for any gets."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def _set_environment() -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")


@contextmanager
def _own_handler() -> Iterator[None]:
    """Keep what this program does when it is told to end: Ray's own way aborts in the middle of waiting."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _start(folder: Path) -> None:
    import ray

    _stay_on_loopback()
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        # Otherwise Ray writes a token into the home folder. It stays for the process: Ray reads it only once.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    with _known_to_its_own(), _agent_on_any_port():
        ray.init(
            address="local",
            # Ray Train asks the dashboard's process whether a trial was stopped that has left resources behind.
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            _node_ip_address="127.0.0.1",
            _temp_dir=str(folder),
            logging_level=logging.ERROR,
            log_to_driver=False,
        )


@contextmanager
def _known_to_its_own() -> Iterator[None]:
    """Let the processes of a Ray that is started in this block know its address.

    Where two run on one machine, what asks for "the" Ray there gets an error, and what stopped trials of several
    workers have left behind would then be kept from others for ever.
    """
    port = free_port()
    given = {name: os.environ.get(name) for name in ("RAY_GCS_SERVER_PORT", "RAY_ADDRESS")}
    os.environ.update({"RAY_GCS_SERVER_PORT": str(port), "RAY_ADDRESS": f"127.0.0.1:{port}"})
    try:
        yield
    finally:
        for name, value in given.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _agent_on_any_port() -> Iterator[None]:
    """Let the dashboard's agent of a Ray that is started in this block listen wherever there is room.

    `ray.init` has no parameter for it: its agents have one port, for which a second Ray of a machine waits for seconds.
    """
    from ray._private import parameter

    given = parameter.RayParams
    parameter.RayParams = functools.partial(given, dashboard_agent_listen_port=0)  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        parameter.RayParams = given  # type: ignore[misc]


def _stay_on_loopback() -> None:
    """Keep Ray from replacing a loopback address by the machine's outer one, on whose interface it would then listen.

    The switch is meant for macOS and Windows, where it says that all of Ray is on one machine.
    """
    from ray._private import ray_constants

    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    # Ray has read the variable already if it was imported before us.
    ray_constants.ENABLE_RAY_CLUSTER = False


def _join(address: str) -> None:
    import ray

    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host in ("localhost", "127.0.0.1"):
        _stay_on_loopback()
    try:
        if host and port.isdecimal():
            # Ray itself would knock for minutes, and complain aloud, where nobody is at home.
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as error:
        cause = str(error).partition("\n")[0]
        raise UserError(
            f"RAY_ADDRESS={address}: cannot join this cluster ({cause}); if it has a token, set RAY_AUTH_MODE=token "
            "and RAY_AUTH_TOKEN; or unset RAY_ADDRESS to run on this machine"
        ) from None


@contextmanager
def _folder() -> Iterator[Path]:
    """A temporary folder with a path short enough for Ray; what a killed process left of its own is removed as well."""
    parent = Path(tempfile.gettempdir())
    if len(str(parent / "fgcme-ray-12345678")) > _FOLDER_LIMIT:
        parent = Path("/tmp")
    for lock in parent.glob("fgcme-ray-*/lock"):
        with suppress(OSError), lock.open("a") as file:
            # Refused while the process that made the folder lives.
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="fgcme-ray-", dir=parent))
    try:
        with (folder / "lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield folder
    finally:
        # Ray's processes may still be writing while they end.
        for _ in range(20):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.1)
