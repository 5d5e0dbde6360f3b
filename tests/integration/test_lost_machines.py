"""Machines that are lost in the middle of a sweep: what is said of them, what they cost, and what Ray says."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from pipelines.training.failure import MAX_STARTS
from tests import small_corpus
from tests.integration.conftest import PATIENCE, program, wait_for
from tests.integration.test_cluster import cluster, opened  # noqa: F401
from tests.store import make_tracker

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

# Four minutes: run by hand.
pytestmark = [pytest.mark.integration, pytest.mark.by_hand]

# More than a trial may be started without an epoch in between.
LOSSES, EPOCHS = MAX_STARTS + 2, 3


def test_a_trial_that_is_lost_with_its_machine_says_so_each_time_and_keeps_its_starts(
    cluster: Cluster,  # noqa: F811
    prepared: Path,
    tmp_path: Path,
) -> None:
    tracker, vectors, losses = make_tracker(tmp_path), tmp_path / "vectors.txt", int(os.environ.get("LOSSES", LOSSES))
    # The trial waits before its first epoch until this pipe is opened.
    os.mkfifo(vectors)
    experiment, space = tmp_path / "small.yaml", tmp_path / "rates.yaml"
    experiment.write_text(
        small_corpus.experiment(
            prepare={"folder": str(prepared)},
            storage={"path": str(tmp_path / "storage")},
            tracking={"uri": tracker.uri},
            model={"semantic": {"embedding": 8, "vectors": str(vectors)}},
            training={"epochs": EPOCHS},
            tune={"trials": 1, "folds": [0], "grace_period": EPOCHS},
            # More than the other nodes have.
            scaling={"cpus_per_worker": 2},
        ).to_yaml()
    )
    space.write_text("parameters:\n  training.learning_rate: {float: [1.0e-3, 3.0e-2], log: true}\n")

    addresses = (f"127.0.0.{last}" for last in itertools.count(20))

    def add_node() -> Any:
        return cluster.add_node(num_cpus=2, node_ip_address=next(addresses))

    def trial() -> Path | None:
        return next((tmp_path / "storage").glob("sweeps/*/*/trials/0"), None)

    node = add_node()
    try:
        with program(tmp_path, "tune", str(experiment), "--space", str(space)) as driver:
            for _ in range(losses):

                def starts_on(name: str = node.node_id) -> bool:
                    folder = trial()
                    return folder is not None and (folder / "node").exists() and (folder / "node").read_text() == name

                wait_for(starts_on, every=0.02)
                (raylet,) = node.all_processes["raylet"]
                psutil.Process(raylet.process.pid).kill()
                cluster.remove_node(node, allow_graceful=False)
                node = add_node()

            wait_for(lambda: (folder := trial()) and (folder / "node").read_text() == node.node_id, every=0.02)
            with opened(vectors):
                out, errors = driver.communicate(timeout=PATIENCE)
    finally:
        cluster.remove_node(node, allow_graceful=False)
    assert driver.returncode == 0, out + errors
    assert out.count("trial 0 was lost with its machine, and resumes from its last saved epoch") == losses
    assert "lost its process" not in out and "failed" not in out
    # What Ray says of it is kept, and disturbs nobody.
    assert errors == ""
    folder = trial()
    assert folder is not None and len((folder / "losses.log").read_text().splitlines()) >= losses
    (run,) = tracker.child_runs(tracker.find_run("latest").info.run_id)
    assert run.info.status == "FINISHED"
    assert [step for step, _ in tracker.metric_history(run.info.run_id, "dev/objective")] == list(range(1, EPOCHS + 1))
