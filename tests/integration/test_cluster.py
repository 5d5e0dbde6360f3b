"""The same commands on a cluster: four nodes, simulated on this machine, joined by `RAY_ADDRESS` as a real one is."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fgcme.tracking import Tracker, prepare_store
from pipelines.training.failure import MAX_STARTS
from tests import small_corpus
from tests.integration.conftest import PATIENCE, program, wait_for
from tests.store import make_tracker

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent.parent
TINY = [
    "corpus.utterances=64",
    "training.epochs=2",
    "model.fusion.hidden=16",
    "model.acoustic.channels=[16, 16]",
    "model.acoustic.kernels=[5, 2]",
]
# Enough epochs for four trials that begin together to lose two nodes half-way.
EPOCHS, TRIALS = 120, 6

# Prints what a worker sees of the code that was sent with a working directory that has a folder `platform`.
ON_A_NODE = """\
import json, sys
from pathlib import Path
import ray

@ray.remote(num_cpus=1)
def look():
    import platform
    import fgcme.experiment.settings, pipelines.cli
    return {
        "node": ray.util.get_node_ip_address(),
        "platform": platform.__file__,
        "system": platform.system(),
        "fgcme": fgcme.experiment.settings.__file__,
        "pipelines": pipelines.cli.__file__,
        "files": [str(path) for path in Path().rglob("*") if path.is_file()],
    }

root = Path(sys.argv[1])
ray.init(runtime_env={"working_dir": str(root), "py_modules": [str(root / "platform" / "fgcme")]}, log_to_driver=False)
elsewhere = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
    next(node["NodeID"] for node in ray.nodes() if node["NodeManagerAddress"] == "127.0.0.2"), soft=False
)
print(json.dumps(ray.get(look.options(scheduling_strategy=elsewhere).remote())))
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head and three workers, of one CPU each, on loopback addresses of their own."""
    with pytest.MonkeyPatch.context() as patch:
        # Ray reads its token once in a process: keep that of an earlier test, and leave this one to later tests.
        os.environ.setdefault("RAY_AUTH_TOKEN", "0" * 64)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray._private import ray_constants
        from ray.cluster_utils import Cluster
        from ray.experimental import internal_kv

        # Keep Ray from replacing the loopback addresses of the nodes.
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)

        # The end of the cluster would cut off this process from another Ray that it has joined.
        joined = internal_kv.internal_kv_get_gcs_client()
        # Without a port for the dashboard, the next one that is free.
        head = {"node_ip_address": "127.0.0.1", "dashboard_host": "127.0.0.1", "dashboard_port": None}
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **head})
        try:
            for last in (2, 3, 4):
                # Distinct addresses: a driver joins through the node of its own address, the head.
                cluster.add_node(num_cpus=1, node_ip_address=f"127.0.0.{last}")
            assert cluster.address.startswith("127.0.0.1:")
            patch.setenv("RAY_ADDRESS", cluster.address)
            yield cluster
        finally:
            cluster.shutdown()
            if joined is not None:
                internal_kv._initialize_internal_kv(joined)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cluster")


@contextmanager
def opened(pipe: Path) -> Iterator[None]:
    """A block in which whoever opens a pipe for reading finds it empty; before, he waits."""
    over = threading.Event()

    def open_again_and_again() -> None:
        while not over.wait(0.05):
            # Refused while nobody reads.
            with contextlib.suppress(OSError):
                os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))

    thread = threading.Thread(target=open_again_and_again)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def fgcme(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/tracking/mlflow.db"}
    command = [sys.executable, "-m", "pipelines.cli", *arguments, *TINY, f"storage.path={folder}/shared"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_preparing_and_training_run_on_a_cluster(cluster: Cluster, folder: Path) -> None:
    assert "utterances: 64" in fgcme(folder, "prepare", "demo")
    # Each node has one CPU: two workers of one CPU are on two nodes, exchanging gradients.
    trained = fgcme(folder, "train", "demo", "--fold", "0", "scaling.workers=2")
    assert "1 training, " in trained
    # Nothing is written outside the shared folder and the tracking store.
    assert {path.name for path in folder.iterdir()} == {"shared", "tracking"}
    tracker = Tracker(f"sqlite:///{folder}/tracking/mlflow.db")
    assert tracker.find_run("demo train").info.status == "FINISHED"


@pytest.mark.slow
def test_code_sent_by_a_runtime_environment_works_and_platform_shadows_nothing(
    cluster: Cluster, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ON_A_NODE, str(ROOT)], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["node"] == "127.0.0.2"
    # The worker stands in a copy of the checkout, folder `platform` and all, and has the standard library's module.
    assert "platform/fgcme/experiment/settings.py" in seen["files"]
    assert seen["system"] == "Linux"
    assert Path(seen["platform"]).name == "platform.py"
    # Both packages are the ones that were sent, not those that happen to be installed on the node.
    for package in ("fgcme", "pipelines"):
        assert "runtime_resources" in seen[package]
        assert not seen[package].startswith(str(ROOT))
    # What git ignores is not sent: the environment, results, corpora. Nor is the history.
    assert not {file for file in seen["files"] if file.startswith((".venv/", ".git/", "storage/", "mlflow.db"))}


@pytest.mark.survival
def test_a_training_that_loses_its_node_resumes_on_another_and_losses_of_nodes_are_not_counted_as_starts(
    cluster: Cluster, prepared: Path, tmp_path: Path
) -> None:
    tracker = make_tracker(tmp_path)
    storage, vectors, epochs = tmp_path / "storage", tmp_path / "vectors.txt", 12
    # The training waits before its first epoch until this pipe is opened.
    os.mkfifo(vectors)
    path = tmp_path / "small.yaml"
    path.write_text(
        small_corpus.experiment(
            prepare={"folder": str(prepared)},
            storage={"path": str(storage)},
            tracking={"uri": tracker.uri},
            model={"semantic": {"embedding": 8, "vectors": str(vectors)}},
            training={"epochs": epochs, "batch_size": 1},
            # More than the other nodes have.
            scaling={"cpus_per_worker": 2},
        ).to_yaml()
    )

    def add_node(last: int) -> None:
        cluster.add_node(num_cpus=2, node_ip_address=f"127.0.0.{last}")

    def lose_node(state: str) -> None:
        """Remove the node of the training, as soon as that has left a file of this name."""
        living = {node.node_id: node for node in cluster.worker_nodes}

        def node() -> Any:
            folders = [file.parent for file in storage.glob(f"runs/*/fold-0-seed-0/{state}")]
            return living.get((folders[0] / "node").read_text()) if folders else None

        cluster.remove_node(wait_for(node, every=0.02), allow_graceful=False)

    def run_of_training() -> str:
        (child,) = tracker.child_runs(tracker.find_run("small train").info.run_id)
        return child.info.run_id

    before = set(cluster.worker_nodes)
    add_node(5)
    try:
        with program(tmp_path, "train", str(path), "--fold", "0") as driver:
            # Each time another node comes only when the last one is gone.
            for last in range(6, 6 + MAX_STARTS):
                lose_node("node")
                add_node(last)

            with opened(vectors):
                lose_node("state.pt")
                reached = len(tracker.metric_history(run_of_training(), "train/loss"))
                add_node(6 + MAX_STARTS)
                out, errors = driver.communicate(timeout=PATIENCE)
    finally:
        # The next test counts on nodes of one CPU each.
        for node in set(cluster.worker_nodes) - before:
            cluster.remove_node(node, allow_graceful=False)
    assert driver.returncode == 0, out + errors
    assert out.count("fold 0, seed 0 was lost with its machine, and resumes from its last saved") == MAX_STARTS + 1
    assert 0 < reached < epochs
    assert tracker.find_run(run_of_training()).info.status == "FINISHED"
    assert {step for step, _ in tracker.metric_history(run_of_training(), "train/loss")} == set(range(1, epochs + 1))


@pytest.mark.survival
def test_a_sweep_that_loses_two_of_four_nodes_finishes_every_trial_once(
    cluster: Cluster, prepared: Path, tmp_path: Path
) -> None:
    tracker = Tracker(f"sqlite:///{tmp_path}/mlflow.db")
    prepare_store(tracker.uri)
    experiment, space, vectors = tmp_path / "small.yaml", tmp_path / "rates.yaml", tmp_path / "vectors.txt"
    # Trials wait before their first epoch until this pipe is opened.
    os.mkfifo(vectors)
    experiment.write_text(
        small_corpus.experiment(
            prepare={"folder": str(prepared)},
            storage={"path": str(tmp_path / "storage")},
            tracking={"uri": tracker.uri},
            model={"semantic": {"embedding": 8, "vectors": str(vectors)}},
            training={"epochs": EPOCHS},
            tune={"grace_period": EPOCHS},
        ).to_yaml()
    )
    space.write_text("parameters:\n  training.learning_rate: {float: [1.0e-3, 3.0e-2], log: true}\n")

    def epochs() -> dict[str, list[int]]:
        """The epochs of each trial, in the order in which they were recorded."""
        trials = tracker.child_runs(tracker.find_run("small-rates tune").info.run_id)
        return {
            trial.data.tags["fgcme.trial"]: [
                value.step
                for value in sorted(
                    tracker.client.get_metric_history(trial.info.run_id, "dev/objective"),
                    key=lambda value: (value.timestamp, value.step),
                )
            ]
            for trial in trials
        }

    def four_half_way() -> bool:
        reached = [max(steps) for steps in epochs().values() if steps]
        return sum(2 < epoch < EPOCHS // 2 for epoch in reached) == 4

    with program(tmp_path, "tune", str(experiment), "--space", str(space), "--trials", str(TRIALS)) as sweep:
        wait_for(lambda: len(list(tmp_path.glob("storage/sweeps/*/*/trials/*/node"))) == 4)
        with opened(vectors):
            wait_for(four_half_way, every=0.5)
            # Each node has room for one trial, so two of these four are lost with their nodes.
            for node in list(cluster.worker_nodes)[:2]:
                cluster.remove_node(node, allow_graceful=False)
            # Two nodes are left for what four began.
            out, errors = sweep.communicate(timeout=PATIENCE)
    assert sweep.returncode == 0, out + errors
    assert f"best of {TRIALS} trials" in out
    assert out.count("resumes from its last saved epoch") == 2
    run = tracker.find_run("small-rates tune")
    assert run.info.status == "FINISHED"
    assert [trial.info.status for trial in tracker.child_runs(run.info.run_id)] == ["FINISHED"] * TRIALS
    # Each trial ran once, and each of its epochs once, in order: lost trials did not start over.
    assert list(epochs().values()) == [list(range(1, EPOCHS + 1))] * TRIALS
