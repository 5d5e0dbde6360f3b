"""`slurm.sh` on two machines, which are namespaces of this one: `ray symmetric-run` is Ray's, `srun` is a stand-in.

What the stand-ins for `srun` and `scontrol` do is in the folder `slurm`. They know of SLURM what they need: a step is a
command that is started once on each machine and ends, on all, with the first that fails.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from fgcme.errors import UserError
from fgcme.tracking import Tracker
from tests import small_corpus
from tests.integration.conftest import descendants, kill, wait_for
from tests.store import make_tracker

ROOT = Path(__file__).parent.parent.parent
STAND_INS = Path(__file__).parent / "slurm"
EPOCHS = 20


def namespaces_can_be_made() -> bool:
    """Whether this machine lets its users make namespaces; containers often forbid it."""
    namespaces = [
        "unshare",
        "--user",
        "--map-root-user",
        "--net",
        "--pid",
        "--mount",
        "--uts",
        "--fork",
        "--mount-proc",
    ]
    cable = "ip link add name eth1 type veth peer name eth2"
    try:
        return subprocess.run([*namespaces, "sh", "-c", cable], capture_output=True).returncode == 0
    except OSError:
        return False


pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not namespaces_can_be_made(), reason="no namespaces can be made here, or there is no `ip`"),
]


class Job:
    """A job that SLURM gives two machines of one CPU each, in a folder that both see."""

    def __init__(self, folder: Path, tracking: str) -> None:
        self.folder, self.number = folder, str(10_000_000 + secrets.randbelow(10_000_000))
        self.environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(STAND_INS), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "MLFLOW_TRACKING_URI": tracking,
            "SLURM_JOB_ID": self.number,
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_CPUS_ON_NODE": "1",
            "SLURMD_NODENAME": "node1",
            # By default the second machine waits a minute for the first when all is done. Longer than `ray stop` takes.
            "RAY_gcs_rpc_server_reconnect_timeout_s": "25",
        }

    @contextmanager
    def start(self, *words: str, restarts: int = 0) -> Iterator[subprocess.Popen[bytes]]:
        """The job, running; it and its machines are gone at the end of the block."""
        machines = self.folder / f"machines{restarts}"
        machines.mkdir()
        command = [str(STAND_INS / "machines"), str(machines), str(ROOT / "slurm.sh"), *words]
        # As SLURM's with --output and --open-mode=append.
        with (self.folder / f"fgcme-{self.number}.log").open("ab") as log:
            job = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self.environment, "SLURM_RESTART_COUNT": str(restarts)},
                stdout=log,
                stderr=log,
            )
        try:
            yield job
        finally:
            kill(job)
            job.wait(timeout=30)
            shutil.rmtree(f"/tmp/fgcme-{self.number}", ignore_errors=True)

    @property
    def log(self) -> str:
        """What the command and the script have said."""
        return (self.folder / f"fgcme-{self.number}.log").read_text()

    @property
    def ray_log(self) -> str:
        """What Ray has said on all machines."""
        return (self.folder / f"fgcme-{self.number}-ray.log").read_text()


def steps(tracker: Tracker) -> list[int]:
    """The epochs that are recorded so far of the only training of the only cross-validation."""
    with suppress(UserError):
        for training in tracker.child_runs(tracker.find_run("small train").info.run_id):
            return [step for step, _ in tracker.metric_history(training.info.run_id, "train/loss")]
    return []


@pytest.mark.by_hand
def test_a_training_over_two_machines_whose_time_is_up_resumes_when_the_job_runs_again(
    prepared: Path, tmp_path: Path
) -> None:
    tracker = make_tracker(tmp_path)
    job = Job(tmp_path, tracker.uri)
    (tmp_path / "small.yaml").write_text(
        small_corpus.experiment(
            prepare={"folder": str(prepared)},
            training={"epochs": EPOCHS, "batch_size": 4},
            # Each machine has one CPU: neither can hold this by itself.
            scaling={"workers": 2},
        ).to_yaml()
    )

    with job.start("train", "small.yaml", "--fold", "0") as first:
        wait_for(lambda: steps(tracker), seconds=400, every=1)
        (script,) = [one for one in descendants(first.pid, "slurm.sh train") if one.name() == "slurm.sh"]
        script.send_signal(signal.SIGUSR1)
        first.wait(timeout=120)
    assert (tmp_path / "machines0" / "requeued").exists(), job.log
    assert "interrupted; what is finished is kept; resume with" in job.log

    run = tracker.find_run("latest").info.run_id
    assert 1 <= len(steps(tracker)) < EPOCHS

    with job.start("train", "small.yaml", "--fold", "0", restarts=1) as second:
        assert second.wait(timeout=240) == 0, job.log + job.ray_log
        assert not Path(f"/tmp/fgcme-{job.number}").exists()
    assert tracker.find_run("latest").info.run_id == run
    assert tracker.find_run(run).info.status == "FINISHED"
    assert sorted(set(steps(tracker))) == list(range(1, EPOCHS + 1))
