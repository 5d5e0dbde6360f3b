"""A cluster on this machine that a real autoscaler grows and shrinks, by Ray's provider of simulated machines."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from pipelines.cluster.session import free_port

_HEAD = "ray.head.default"
# By this id Ray's provider knows the head.
_HEAD_ID = "f" * 51 + "00000"


@dataclass(frozen=True)
class GrowingCluster:
    """A cluster that grows.

    Attributes:
        folder: of its Ray.
        environment: of a program that joins it.
    """

    folder: Path
    environment: Mapping[str, str]

    def workers(self) -> int:
        """How many nodes there are besides the head."""
        raylets = [one for one in _processes_of(self.folder) if one.name() == "raylet"]
        return len(raylets) - 1

    def end(self, program: str) -> None:
        """End a program of Ray's, by the end of its path."""
        for process in _processes_of(self.folder):
            if any(argument.endswith(program) for argument in process.cmdline()):
                process.kill()


@contextmanager
def growing_cluster(
    version: int, workers: Mapping[str, Mapping[str, Any]], idle_minutes: float
) -> Iterator[GrowingCluster]:
    """A head without CPUs, whose autoscaler starts workers, all on the loopback address.

    Args:
        version: of the autoscaler, 1 or 2.
        workers: for each type of machine `resources` and `max_workers`.
        idle_minutes: after which a machine without work ends.
    """
    folder = Path(tempfile.mkdtemp(prefix="fgcme-grow-", dir="/tmp"))
    port = free_port()
    config = folder / "autoscaling.json"
    config.write_text(json.dumps(_configuration(version, port, workers, idle_minutes)), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": "0" * 64,
        "RAY_USAGE_STATS_ENABLED": "0",
        # Otherwise Ray replaces the loopback address by the machine's outer one.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    }
    of_head = {
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        # All nodes write into one folder: otherwise each lists everybody's files ten times a second.
        "RAY_LOG_MONITOR_MANY_FILES_THRESHOLD": "0",
    }
    if version == 2:
        of_head |= {
            "RAY_enable_autoscaler_v2": "1",
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": _HEAD_ID,
            "RAY_CLOUD_INSTANCE_ID": _HEAD_ID,
            "RAY_NODE_TYPE_NAME": _HEAD,
        }
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--num-cpus=0", f"--port={port}"]
    command += [f"--temp-dir={folder}", f"--autoscaling-config={config}", "--node-ip-address=127.0.0.1"]
    command += ["--include-dashboard=false", "--dashboard-agent-listen-port=0", "--object-store-memory=100000000"]
    command += [f"--ray-client-server-port={free_port()}", "--min-worker-port=0", "--max-worker-port=0"]
    try:
        done = subprocess.run(command, env=environment | of_head, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout + done.stderr
        yield GrowingCluster(folder, environment | {"RAY_ADDRESS": f"127.0.0.1:{port}"})
    finally:
        _end(folder)


def _configuration(
    version: int, port: int, workers: Mapping[str, Mapping[str, Any]], idle_minutes: float
) -> dict[str, Any]:
    # All nodes have one address.
    provider: dict[str, Any] = {"type": "fake_multinode", "use_node_id_as_ip": True, "disable_node_updaters": True}
    if version == 2:
        # By its own name version 2 would look for defaults that Ray does not install.
        module = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
        provider = {"type": "external", "module": module, "disable_node_updaters": True}
    commands = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray")
    return {
        "cluster_name": "growing",
        "max_workers": sum(kind["max_workers"] for kind in workers.values()),
        "idle_timeout_minutes": idle_minutes,
        "upscaling_speed": 64.0,
        "provider": {
            **provider,
            "gcs_address": f"127.0.0.1:{port}",
            "launch_multiple": True,
            "head_node_id": _HEAD_ID,
        },
        "available_node_types": {
            _HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            **{name: {"node_config": {}, "min_workers": 0, **kind} for name, kind in workers.items()},
        },
        "head_node_type": _HEAD,
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
        **{f"{kind}_commands": [] for kind in commands},
    }


def _processes_of(folder: Path) -> list[psutil.Process]:
    """The processes that name a folder among their arguments."""
    found = []
    for process in psutil.process_iter():
        # It may end meanwhile.
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if any(str(folder) in argument for argument in process.cmdline()):
                found.append(process)
    return found


def _end(folder: Path) -> None:
    """End all processes that name a folder among their arguments, and delete it."""
    deadline = time.monotonic() + 30
    # A node that was being started may appear late.
    while (found := _processes_of(folder)) and time.monotonic() < deadline:
        for process in found:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(found, timeout=5)
    shutil.rmtree(folder, ignore_errors=True)
