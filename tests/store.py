"""MLflow stores for tests, a database or a real server, and runs in them as `fgcme train` records them."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import sqlalchemy

from fgcme.tracking import Tracker, prepare_store
from pipelines.cluster.session import free_port
from tests.fitted_model import save_fitted


@functools.cache
def _fresh_database() -> Path:
    # Creating the tables takes seconds: copy them.
    folder = tempfile.mkdtemp(prefix="fgcme-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / "mlflow.db"
    prepare_store(f"sqlite:///{path}")
    return path


def make_tracker(folder: Path) -> Tracker:
    """A tracker of a fresh SQLite store in a folder."""
    shutil.copy(_fresh_database(), folder / "mlflow.db")
    return Tracker(f"sqlite:///{folder}/mlflow.db", artifacts=folder / "artifacts", outbox=folder / "outbox")


def record_cross_validation(
    tracker: Tracker, folder: Path, dev_scores: list[float], selection: str = "dev", complete: bool = True
) -> tuple[str, list[str]]:
    """Record a cross-validation whose folds have these best dev scores, all reached in the first of two epochs.

    The test metrics run the other way: the fold with the best dev score has the worst.

    Returns:
        The ids of the cross-validation and of its folds.
    """
    experiment = tracker.get_or_create_experiment("demo")
    parent = tracker.create_run(
        experiment,
        "demo train",
        tags={
            "fgcme.kind": "cross_validation",
            "fgcme.corpus": "demo",
            "fgcme.corpus_hash": "c0ffee",
            "fgcme.commit": "abc123-dirty",
            "fgcme.protocol": "demo/4class",
            "fgcme.selection": selection,
        },
    )
    folds = []
    for fold, score in enumerate(dev_scores):
        run = tracker.create_run(
            experiment, f"fold {fold}, seed 0", parent, {"fgcme.kind": "fold", "fgcme.fold": str(fold)}
        )
        tracker.log_metrics(run, {"dev/score": score}, 1)
        tracker.log_metrics(run, {"dev/score": 0.01 * fold}, 2)
        tracker.log_artifact(run, save_fitted(folder / f"fold-{fold}", selection=selection, fold=fold), "model")
        best = {"best/dev/ua": score, "best/dev/wa": score, "test/ua": 1 - score, "test/wa": 0.9 - score}
        tracker.log_metrics(run, best, 1)
        tracker.end_run(run, "FINISHED")
        folds.append(run)
    if complete:
        tracker.log_metrics(parent, {"test/ua": 0.444, "test/wa": 0.555}, 0)
    tracker.end_run(parent, "FINISHED" if complete else "FAILED")
    return parent, folds


class Server:
    """A real MLflow server on the loopback interface, which can be stopped and started again at the same address.

    Args:
        folder: for its log.
        database: its backend store.
        artifacts: where it keeps artifacts: a folder, or an address such as s3://bucket.
        environment: that it gets besides this process's own.
    """

    def __init__(
        self, folder: Path, database: str, artifacts: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self.host = f"127.0.0.1:{free_port()}"
        self.address = f"http://{self.host}"
        self.headers = {"Content-Type": "application/json"}
        self._log = folder / "server.log"
        self._arguments = ["--backend-store-uri", database, "--artifacts-destination", artifacts]
        # MLflow's own job queues would be eight more processes.
        self._environment = {**os.environ, **(environment or {}), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started and not stopped."""
        return self._process is not None

    def command(self) -> list[str]:
        """What starts it."""
        port = self.host.rpartition(":")[2]
        return [sys.executable, "-m", "mlflow", "server", *self._arguments, "--port", port, "--workers", "1"]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self.command(),
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + 240
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        """Kill it and all that it started."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=30)
            self._process = None

    def pause(self) -> None:
        """Make it hang: it takes connections and does not answer."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Undo `pause`; it now answers the requests that came in meanwhile."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def requests(self, path: str) -> int:
        """The number of requests for a path that it has answered."""
        return self._log.read_text().count(f"{path} HTTP")

    def _answers(self) -> bool:
        request = urllib.request.Request(
            f"{self.address}/api/2.0/mlflow/experiments/search",
            b'{"max_results": 1}',
            self.headers,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return bool(response.status == 200)
        except OSError:
            return False


@contextlib.contextmanager
def serving(server: Server) -> Iterator[Server]:
    """A server for the length of a `with` block."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


def crowd(database: str, experiments: int, runs: int) -> None:
    """Fill a store with what others keep there: their experiments, named `other N`, and their finished runs in these.

    Args:
        database: address of the store's SQLite database.
        experiments: how many.
        runs: how many in all; each is newer than any that is made now, and is called like one of ours.
    """
    engine = sqlalchemy.create_engine(database)
    later = 1000 * (int(time.time()) + 10**6)
    with engine.begin() as connection:
        tables = sqlalchemy.MetaData()
        tables.reflect(connection, only=("experiments", "runs"))
        first = connection.execute(sqlalchemy.text("SELECT max(experiment_id) FROM experiments")).scalar_one() + 1
        common = {"lifecycle_stage": "active", "artifact_location": "mlflow-artifacts:/others"}
        rows = [
            {**common, "experiment_id": first + number, "name": f"other {number}", "last_update_time": later}
            for number in range(experiments)
        ]
        connection.execute(tables.tables["experiments"].insert(), rows)
        own = {"name": "demo train", "status": "FINISHED", "lifecycle_stage": "active", "start_time": later}
        own |= {"user_id": "somebody", "source_type": "LOCAL"}
        connection.execute(
            tables.tables["runs"].insert(),
            [
                {**own, "run_uuid": f"{number:032x}", "experiment_id": first + number % experiments}
                for number in range(runs)
            ],
        )
    engine.dispose()
