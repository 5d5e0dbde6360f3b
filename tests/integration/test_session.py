"""Ray as this project starts it: on this machine only, refusing what it can never give, leaving no file behind."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from fgcme.errors import UserError
from pipelines import cluster
from tests.integration.conftest import descendants

pytestmark = pytest.mark.integration


_JOINING = """\
from fgcme.errors import UserError
from pipelines.cluster.session import ray_session
try:
    with ray_session():
        pass
except UserError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("scheme", "sentence"),
    [
        ("", "cannot join this cluster"),
        ("ray://", "Ray Train and Ray Tune do not run through Ray Client: run fgcme on the cluster's head with"),
    ],
)
def test_a_cluster_that_does_not_answer_and_ray_client_are_refused_at_once_in_one_line(
    scheme: str, sentence: str
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{closed.getsockname()[1]}"
    done = subprocess.run(
        [sys.executable, "-c", _JOINING],
        env={**os.environ, "RAY_ADDRESS": address},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    [line] = done.stdout.splitlines()
    assert line.startswith(f"RAY_ADDRESS={address}: {sentence}")


_STARTING = """\
import ray
from pipelines.cluster.session import ray_session
with ray_session():
    print(ray.get(ray.remote(lambda: 2).remote()))
"""


@pytest.mark.slow
def test_ray_starts_whatever_the_length_and_letters_of_tmpdir(tmp_path: Path) -> None:
    # Beyond what any socket's path may have, as `multiprocessing` makes one in it in Ray's dashboard.
    temporary = tmp_path / "häuser 🙂 100%20" / ("long" * 30)
    temporary.mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-c", _STARTING],
        env={**environment, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout.split() == ["2"]
    assert f"TMPDIR={temporary}: too long a path for Ray's sockets" in done.stderr


def test_more_than_the_cluster_has_is_refused_in_one_line(ray_session: None) -> None:
    cluster.require_capacity(cluster.cluster_resources()["CPU"], 0, "training")
    with pytest.raises(
        UserError, match=r"training with 9 workers needs 10000 CPUs at once and Ray has \d+: ask for less"
    ):
        cluster.require_capacity(10_000, 0, "training with 9 workers")
    with pytest.raises(UserError, match="needs 64 GPUs at once"):
        cluster.require_capacity(1, 64, "training")


def test_a_session_inside_another_leaves_it_running(ray_session: None) -> None:
    import ray

    with cluster.ray_session():
        assert ray.is_initialized()
    assert ray.is_initialized()


def test_nothing_listens_beyond_this_machine(ray_session: None) -> None:
    listening = set()
    for process in descendants(os.getpid()):
        # It may have ended meanwhile.
        with contextlib.suppress(psutil.NoSuchProcess):
            listening |= {
                connection.laddr.ip.removeprefix("::ffff:")
                for connection in process.net_connections("tcp")
                if connection.status == psutil.CONN_LISTEN
            }
    assert listening
    assert listening <= {"127.0.0.1", "::1"}


def test_ray_s_agent_listens_on_another_port_than_its_default(ray_session: None) -> None:
    from ray._private import ray_constants
    from ray._private.worker import global_worker

    fixed = ray_constants.DEFAULT_DASHBOARD_AGENT_LISTEN_PORT
    assert 0 < global_worker.node.dashboard_agent_listen_port != fixed


_IN_A_WORKER = """
import ray
from pipelines.cluster.session import ray_session

@ray.remote
def look():
    import fgcme.errors, pipelines.bundled, platform
    return platform.python_implementation()

with ray_session():
    print(ray.get(look.remote()))
"""


def test_folders_of_the_user_s_own_are_not_imported_by_workers(tmp_path: Path) -> None:
    for name in ("pipelines", "platform", "fgcme"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('the folder of the user')")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        # Like the program `fgcme`, without the working directory on its path.
        [sys.executable, "-P", "-c", _IN_A_WORKER],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.stdout.strip() == "CPython", done.stderr


def test_ray_leaves_no_file_behind(tmp_path: Path) -> None:
    code = (
        "from pipelines.cluster.session import ray_session\n"
        "with ray_session():\n import ray; print(ray.cluster_resources()['CPU'])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment["HOME"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert float(done.stdout) >= 1
    # On a busy machine Ray's core may log warnings, in its own format.
    assert [line for line in done.stderr.splitlines() if not re.match(r"\[.+ [IWE] \d+ \d+\] \S+\.cc:\d+", line)] == []
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.survival
def test_a_ray_that_does_not_start_in_time_is_an_error_in_one_line(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    # Ray's own switch for tests: its node registers ten seconds later than Ray waits.
    environment["RAY_testing_asio_delay_us"] = "NodeInfoGcsService.grpc_server.RegisterNode=40000000:40000000"
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.cli", "prepare", "demo", f"storage.path={tmp_path}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 2
    assert "fgcme: Ray did not start on this machine within 30 seconds" in done.stderr
    assert "Traceback" not in done.stderr
