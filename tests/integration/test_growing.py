"""The verbs on a cluster that grows: no CPU when they start, as many nodes as they can use while they work, none after.

A real autoscaler starts the nodes, of both versions that Ray has.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import small_corpus
from tests.integration.conftest import wait_for
from tests.integration.growing_cluster import GrowingCluster, growing_cluster

pytestmark = [pytest.mark.integration, pytest.mark.slow]

NODES = 3
WORKERS = {"worker": {"resources": {"CPU": 1}, "max_workers": NODES}}
TINY = [
    "corpus.utterances=64",
    "training.epochs=1",
    "model.fusion.hidden=16",
    "model.acoustic.channels=[16, 16]",
    "model.acoustic.kernels=[5, 2]",
]
ABLATION = "reference: fgcme\nvariants:\n  fgcme:\n  mean:\n"
# Trials need processes of their own, and Ray then ends those of the trainings: the trainings come first.
VERBS = [
    "prepare demo",
    "train demo",
    "ablate demo --space two.yaml",
    "tune demo --space pooling --trials 6",
]
# Runs the commands that it is given, one after the other, until one fails, with one Ray as `fgcme demo` does: what they
# and their tasks import is then imported once.
COMMANDS = """\
import sys
from pipelines.cli import main
from pipelines.cluster import ray_session
commands, settings = sys.argv[1].split(" & "), sys.argv[2:]
with ray_session():
    for command in commands:
        print("$", command, flush=True)
        if status := main([*command.split(), *settings]):
            sys.exit(status)
"""
# Asks for what no node has, for what a user has set, and for a GPU that a node has.
QUESTIONS = """\
from pathlib import Path
from fgcme.errors import UserError
from fgcme.experiment import ScalingSettings
from pipelines.cluster import concurrent_slots, ray_internals, ray_session, require_slot
from pipelines.preparing import PrepareTask
from pipelines.preparing.runner import task_needs
with ray_session():
    for scaling in (ScalingSettings(cpus_per_worker=7), ScalingSettings(workers=2, gpus_per_worker=1)):
        try:
            require_slot(scaling, "one training")
        except UserError as refusal:
            print(refusal)
    print(concurrent_slots(ScalingSettings(max_concurrent=9), "one trial", 20))
    task = PrepareTask(Path("corpus"), Path("prepared"), aligner={"method": "ctc"}, features={"kind": "log_mel"})
    print(task_needs(task).gpus_per_worker)
    print("asked for", ray_internals.autoscaler_2_status().asked)
"""
DEAD = """\
from fgcme.errors import UserError
from fgcme.experiment import ScalingSettings
from pipelines.cluster import growing, ray_session, require_slot
growing._PATIENCE = 5
with ray_session():
    try:
        require_slot(ScalingSettings(cpus_per_worker=7), "one training")
    except UserError as refusal:
        print(refusal)
"""


def places(folder: Path) -> list[str]:
    """Where a command keeps what it makes."""
    return [f"storage.path={folder}/storage", f"tracking.uri=sqlite:///{folder}/mlflow.db"]


def run(cluster: GrowingCluster, folder: Path, program: str, *arguments: str) -> str:
    """What a Python program that joins the cluster prints; it must end well."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=dict(cluster.environment),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@contextmanager
def counting(cluster: GrowingCluster) -> Iterator[list[int]]:
    """How many nodes work at each second of a block."""
    seen: list[int] = []
    over = threading.Event()

    def count() -> None:
        while not over.wait(1):
            seen.append(cluster.workers())

    thread = threading.Thread(target=count)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("version", [1, 2])
def test_every_verb_makes_the_cluster_grow_from_nothing_and_leaves_it_to_shrink(version: int, tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(ABLATION)
    with growing_cluster(version, WORKERS, idle_minutes=0.25) as cluster, counting(cluster) as seen:
        assert cluster.workers() == 0
        out = run(cluster, tmp_path, COMMANDS, " & ".join(VERBS), *TINY, *places(tmp_path))
        # A first node is asked for before all that can be used are.
        assert re.search("waiting for nodes: 3 of 4 run at once, and [01] have room yet; one block of utterances", out)
        assert "[4/4, " in out and "[6/6]" in out and "[8/8, " in out
        # What Ray remarks of nodes that come and go stays in its logs.
        assert "(raylet)" not in out and "(autoscaler" not in out
        # A node that starts a process counts as two for a moment.
        assert max(seen) >= NODES
        wait_for(lambda: cluster.workers() == 0, seconds=180, every=1)


def test_what_no_node_can_hold_is_refused_and_what_the_user_sets_is_believed(prepared: Path, tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    path.write_text(small_corpus.experiment(prepare={"folder": str(prepared)}).to_yaml())
    space = tmp_path / "rates.yaml"
    space.write_text("parameters:\n  training.learning_rate: {choice: [0.01, 0.02]}\n")
    gpu = {"resources": {"CPU": 1, "GPU": 1}, "max_workers": 1}
    with growing_cluster(2, {**WORKERS, "gpu": gpu}, idle_minutes=5) as cluster:
        preview = f"tune {path} --space {space} --trials 8 --dry-run"
        out = run(cluster, tmp_path, COMMANDS, preview, *places(tmp_path))
        assert "of the 0 and 0 that Ray has now: 0 have room; the cluster grows, and will be asked for 8 at once" in out
        assert cluster.workers() == 0
        large, several, waiting, *rest = run(cluster, tmp_path, QUESTIONS).splitlines()
        refused = "and the cluster's autoscaler cannot start nodes for that: ask for less, or for larger or more nodes"
        assert large.startswith(f"one training needs 7 CPUs and 0 GPUs on one node, {refused}")
        assert several.startswith(f"one training needs 2 times 1 CPUs and 1 GPUs on one node, {refused}")
        assert waiting.startswith("waiting for nodes: 9 of 20 run at once, and 0 have room yet; one trial needs 1 CPUs")
        assert rest == ["9", "0.25", "asked for 0"]
        cluster.end("monitor.py")
        assert "the autoscaler of this cluster has not answered for 5 s" in run(cluster, tmp_path, DEAD)
