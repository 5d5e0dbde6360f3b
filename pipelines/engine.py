"""Ray: started on this machine alone, or joined where `RAY_ADDRESS` says; and asked whether it can ever do the work."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from fgcme.errors import UserError

# A socket's path has at most 107 characters, and Ray adds this to its folder's.
_FOLDER_LIMIT = 107 - len("/session_2000-01-01_00-00-00_000000_1234567/sockets/plasma_store")


@contextmanager
def session(quiet: bool = True) -> Iterator[None]:
    """Ray, for the length of a `with` block.

    Without `RAY_ADDRESS` Ray runs on this machine only: it listens on the loopback address, sends no statistics, and
    writes into a temporary folder that is removed at the end. With `RAY_ADDRESS` that cluster is joined. Ray that runs
    in this process already is used as it is, and left running.

    Args:
        quiet: keep what the workers print, and Ray's own remarks, off the terminal.

    Raises:
        UserError: the cluster of `RAY_ADDRESS` cannot be reached.
    """
    _set_environment(quiet)
    import ray

    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS") or "local"
    with _folder() if address == "local" else nullcontext() as folder:
        try:
            if folder is None:
                _join(address, quiet)
            else:
                _start(folder, quiet)
            yield
        finally:
            ray.shutdown()


def require(cpus: float, gpus: float, purpose: str) -> None:
    """Refuse, before anything waits for ever, what the cluster can never give.

    Counts every node, busy or not; on a cluster that grows, every node it may grow to.

    Args:
        cpus, gpus: what is needed at once, over all nodes together.
        purpose: what for, as in `training with 4 workers`.

    Raises:
        UserError: the cluster has fewer of them.
    """
    has = resources()
    for name, needed in (("CPU", cpus), ("GPU", gpus)):
        if needed > has.get(name, 0.0):
            raise UserError(
                f"{purpose} needs {needed:g} {name}s at once and Ray has {has.get(name, 0.0):g}: ask for less, or set "
                "RAY_ADDRESS to a larger cluster"
            )


def resources() -> dict[str, float]:
    """All that Ray has, by resource name, or may grow to."""
    import ray

    # No public function tells the bounds of an autoscaling cluster; Ray Data sizes its pools by this one.
    from ray._private.state import state

    has: dict[str, float] = dict(ray.cluster_resources())  # type: ignore[no-untyped-call]
    for name, most in (state.get_max_resources_from_cluster_config() or {}).items():
        has[name] = max(has.get(name, 0.0), float(most))
    return has


def _set_environment(quiet: bool) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if quiet:
        os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")


def _start(folder: Path, quiet: bool) -> None:
    import ray

    _stay_on_loopback()
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        # Otherwise Ray writes a token into the home folder. It stays for the process: Ray reads it only once.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    ray.init(
        address="local",
        # Ray Train asks the dashboard's process which placement groups a stopped trial left behind.
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        _node_ip_address="127.0.0.1",
        _temp_dir=str(folder),
        logging_level=logging.ERROR if quiet else logging.INFO,
        log_to_driver=not quiet,
    )


def _stay_on_loopback() -> None:
    """Keep Ray from replacing a loopback address by the machine's outer one, on whose interface it would then listen.

    The switch is meant for macOS and Windows, where it says that all of Ray is on one machine.
    """
    from ray._private import ray_constants

    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    # Ray has read the variable already if it was imported before us.
    ray_constants.ENABLE_RAY_CLUSTER = False


def _join(address: str, quiet: bool) -> None:
    import ray

    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host in ("localhost", "127.0.0.1"):
        _stay_on_loopback()
    try:
        if host and port.isdecimal():
            # Ray itself would knock for minutes, and complain aloud, where nobody is at home.
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        ray.init(address=address, logging_level=logging.ERROR if quiet else logging.INFO, log_to_driver=not quiet)
    except (OSError, RuntimeError, ValueError) as error:
        cause = str(error).partition("\n")[0]
        raise UserError(
            f"RAY_ADDRESS={address}: cannot join this cluster ({cause}); unset RAY_ADDRESS to run on this machine"
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
