"""The same commands on a cluster: two nodes, simulated on this machine, joined by `RAY_ADDRESS` as a real one is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fgcme.tracking import Tracker

pytestmark = pytest.mark.integration

TINY = [
    "corpus.utterances=64",
    "training.epochs=2",
    "model.fusion.hidden=16",
    "model.acoustic.channels=[16, 16]",
    "model.acoustic.kernels=[5, 2]",
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        # Ray reads its token once in a process: another module may have begun with one, and others go on with this.
        os.environ.setdefault("RAY_AUTH_TOKEN", "0" * 64)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray._private import ray_constants
        from ray.cluster_utils import Cluster

        # Nodes of one machine: Ray leaves their loopback address alone.
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)

        loopback = {"num_cpus": 1, "node_ip_address": "127.0.0.1"}
        cluster = Cluster(initialize_head=True, head_node_args={**loopback, "dashboard_host": "127.0.0.1"})
        try:
            cluster.add_node(**loopback)
            assert cluster.address.startswith("127.0.0.1:")
            yield cluster.address
        finally:
            cluster.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


def fgcme(folder: Path, address: str, *arguments: str) -> str:
    environment = {
        **os.environ,
        "RAY_ADDRESS": address,
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/tracking/mlflow.db",
    }
    command = [sys.executable, "-m", "pipelines.cli", *arguments, *TINY, f"storage.path={folder}/shared"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prepare_train_and_tune_run_on_a_cluster_of_two_nodes(address: str, folder: Path) -> None:
    assert "utterances: 64" in fgcme(folder, address, "prepare", "demo")
    # Each node has one CPU: two workers of one CPU are one on either node, exchanging gradients.
    trained = fgcme(folder, address, "train", "demo", "--fold", "0", "scaling.workers=2")
    assert "1 trainings" in trained
    tuned = fgcme(folder, address, "tune", "demo", "--space", "pooling", "--trials", "2")
    assert "best of 2 trials" in tuned
    # Only what was set decides where things go: the shared folder and the tracking server.
    assert {path.name for path in folder.iterdir()} == {"shared", "tracking"}
    tracker = Tracker(f"sqlite:///{folder}/tracking/mlflow.db")
    sweep = tracker.find("demo-pooling tune")
    assert sweep.info.status == "FINISHED"
    assert len(tracker.children(sweep.info.run_id)) == 2
