"""A session of Ray: started on this machine only, or joined at `RAY_ADDRESS`."""

from __future__ import annotations

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
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from fgcme.errors import UserError
from fgcme.files import acquire
from pipelines.cluster import ray_internals

# A socket's path has at most 107 bytes, and Ray adds this to its folder's path: the longest of its sockets.
_FOLDER_LIMIT = 107 - len("/session_2000-01-01_00-00-00_000000_1234567/sockets/dash_MetricsHead")


@contextmanager
def ray_session() -> Iterator[None]:
    """Ray, for the length of a `with` block.

    Without `RAY_ADDRESS` Ray runs on this machine only: it listens on the loopback address, sends no statistics, and
    writes into a temporary folder that is deleted at the end. With `RAY_ADDRESS` that cluster is joined. A Ray that
    this process has started already is used as it is, and left running.

    Workers import what is installed on their node, never what lies in the working directory. What they print, and Ray's
    own warnings, stay in Ray's logs.

    Raises:
        UserError: the cluster of `RAY_ADDRESS` cannot be reached or is a Ray Client's, or Ray does not start.
    """
    _set_environment()
    import ray

    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS") or "local"
    with _temporary_folder() if address == "local" else nullcontext() as folder:
        try:
            ray_internals.keep_remarks_out()
            with _keep_signal_handler(), ray_internals.command_without_passwords():
                if folder is None:
                    _join(address)
                else:
                    _start(folder)
            yield
        finally:
            ray.shutdown()


def free_port() -> int:
    """A free port of the loopback address, outside the range that the system assigns by itself."""
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def _set_environment() -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")


@contextmanager
def _keep_signal_handler() -> Iterator[None]:
    """Keep this program's handler of SIGTERM: Ray's own aborts the program while it waits."""
    handler = signal.getsignal(signal.SIGTERM)
    yield
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _start(folder: Path) -> None:
    import ray

    ray_internals.stay_on_loopback()
    if not {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys():
        # Otherwise Ray writes a token into the home folder. Never unset: Ray reads it only once.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    try:
        with _environment_of_child_processes(folder.parent), ray_internals.agent_on_any_port():
            ray.init(
                address="local",
                # Ray Train asks the dashboard which stopped trials have left resources behind.
                include_dashboard=True,
                dashboard_host="127.0.0.1",
                _node_ip_address="127.0.0.1",
                _temp_dir=str(folder),
                job_config=ray_internals.job_of_installed_code(),
                logging_level=logging.ERROR,
                log_to_driver=False,
            )
    except Exception as error:
        # Ray has no class of its own for a node that does not come up in the 30 seconds it waits.
        if type(error) is not Exception:
            raise
        raise UserError(
            f"Ray did not start on this machine within 30 seconds ({str(error).partition('. ')[0]}): wait until it is "
            "less busy, then run again"
        ) from None


@contextmanager
def _environment_of_child_processes(temporary: Path) -> Iterator[None]:
    """Set what the processes of a Ray that is started in this block need to know.

    They need its address: with two Rays on one machine they could not find their own, and Ray Train would never release
    the resources of stopped trials. And they must not import from the working directory: with a folder `platform` of
    the user's, Ray's dashboard would not start; nor would it with a `TMPDIR` too long for the sockets of its own.

    Args:
        temporary: folder for temporary files whose path is short enough for sockets.
    """
    port = free_port()
    variables = {
        "RAY_GCS_SERVER_PORT": str(port),
        "RAY_ADDRESS": f"127.0.0.1:{port}",
        "PYTHONSAFEPATH": "1",
        "TMPDIR": str(temporary),
    }
    given = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in given.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _join(address: str) -> None:
    import ray

    if address.startswith("ray://"):
        raise UserError(
            f"RAY_ADDRESS={address}: Ray Train and Ray Tune do not run through Ray Client: run fgcme on the cluster's "
            "head with RAY_ADDRESS=auto, or send it there with `ray job submit`"
        )
    host, _, port = address.rpartition(":")
    if host in ("localhost", "127.0.0.1"):
        ray_internals.stay_on_loopback()
    try:
        if host and port.isdecimal():
            # Where nothing answers, Ray itself would try for minutes.
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        ray.init(
            address=address,
            job_config=ray_internals.job_of_installed_code(),
            logging_level=logging.ERROR,
            log_to_driver=False,
        )
    except (OSError, RuntimeError, ValueError) as error:
        cause = str(error).partition("\n")[0]
        raise UserError(
            f"RAY_ADDRESS={address}: cannot join this cluster ({cause}); if it has a token, set RAY_AUTH_MODE=token "
            "and RAY_AUTH_TOKEN; or unset RAY_ADDRESS to run on this machine"
        ) from None


def _short_enough(parent: Path) -> Path:
    """A folder for temporary files, or `/tmp` where the path of Ray's sockets in it would be too long, and says so."""
    # Bytes, not letters.
    if len(os.fsencode(parent / "fgcme-ray-12345678")) <= _FOLDER_LIMIT:
        return parent
    print(f"TMPDIR={parent}: too long a path for Ray's sockets; its temporary files go to /tmp", file=sys.stderr)
    return Path("/tmp")


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    """A temporary folder with a path short enough for Ray; deletes those that killed processes left, too."""
    parent = _short_enough(Path(tempfile.gettempdir()))
    for lock in parent.glob("fgcme-ray-*/lock"):
        with suppress(OSError), lock.open("a") as file:
            # Not to be had while the folder's process lives.
            if acquire(file, wait=False):
                shutil.rmtree(lock.parent, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="fgcme-ray-", dir=parent))
    try:
        with (folder / "lock").open("a") as file:
            acquire(file)
            yield folder
    finally:
        # Ray's processes may still write while they end.
        for _ in range(20):
            shutil.rmtree(folder, ignore_errors=True)
            if not folder.exists():
                break
            time.sleep(0.1)
