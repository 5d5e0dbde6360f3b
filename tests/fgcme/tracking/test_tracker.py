from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fgcme.errors import UserError
from fgcme.tracking import Tracker, code_version_tags, prepare_store, require_store, resolve_uri
from tests.store import make_tracker


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return make_tracker(tmp_path_factory.mktemp("tracking"))


@pytest.fixture(scope="module")
def experiment(tracker: Tracker) -> str:
    return tracker.get_or_create_experiment("demo")


def test_the_setting_comes_before_the_environment_and_that_before_a_local_database(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://from.environment:5000")
    assert resolve_uri("http://from.setting:5000/base") == "http://from.setting:5000/base"
    assert resolve_uri(None) == "http://from.environment:5000"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert resolve_uri(None) == f"sqlite:///{tmp_path}/mlflow.db"


def test_a_relative_database_becomes_absolute_and_keeps_its_options(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_uri("sqlite:///runs/x.db?timeout=9") == f"sqlite:///{tmp_path}/runs/x.db?timeout=9"


@pytest.mark.parametrize(
    "uri", ["sqlite:////data/x.db", "sqlite:///:memory:", "postgresql://host/mlflow", "databricks"]
)
def test_other_addresses_stay_as_they_are(uri: str) -> None:
    assert resolve_uri(uri) == uri


def test_the_database_is_made_once_by_many_drivers_that_start_together(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import mlflow  # noqa: F401  # once, rather than in every fork

    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    processes = multiprocessing.get_context("fork")
    drivers = [processes.Process(target=prepare_store, args=(uri,)) for _ in range(4)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join(timeout=120)
    assert [driver.exitcode for driver in drivers] == [0] * 4
    with sqlite3.connect(tmp_path / "new" / "mlflow.db") as database:
        assert database.execute("SELECT count(*) FROM alembic_version").fetchone() == (1,)
    assert capfd.readouterr().err == "", "MLflow chats about its tables"


def test_reading_where_nothing_is_recorded_makes_no_database(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no MLflow database here.*MLFLOW_TRACKING_URI"):
        require_store(f"sqlite:///{tmp_path}/mlflow.db")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database, " * 100)
    with pytest.raises(UserError, match="cannot be used as an MLflow store") as refusal:
        require_store(f"sqlite:///{tmp_path}/mlflow.db")
    assert "\n" not in str(refusal.value)


def test_a_server_that_is_not_there_is_one_clear_line() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(
            UserError, match=rf"127.0.0.1:{port}: the MLflow server does not answer \(connection refused\)"
        ):
            prepare_store(f"http://127.0.0.1:{port}")


def test_a_server_that_is_silent_is_given_up_within_seconds() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        with pytest.raises(UserError, match="does not answer"):
            prepare_store(f"http://127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - started < 15


def test_an_experiment_is_made_once_with_its_artifacts_in_the_storage_folder(tracker: Tracker) -> None:
    first = tracker.get_or_create_experiment("a study / of pooling")
    assert tracker.get_or_create_experiment("a study / of pooling") == first
    location = tracker.client.get_experiment(first).artifact_location
    assert tracker.artifacts is not None
    assert location == (tracker.artifacts / "a-study-of-pooling").as_uri()


def test_a_deleted_experiment_says_how_to_bring_it_back(tracker: Tracker) -> None:
    identity = tracker.get_or_create_experiment("gone")
    tracker.client.delete_experiment(identity)
    with pytest.raises(UserError, match=f"mlflow experiments restore --experiment-id {identity}"):
        tracker.get_or_create_experiment("gone")


def test_a_run_has_its_name_parent_tags_and_all_its_parameters(tracker: Tracker, experiment: str) -> None:
    parent = tracker.create_run(experiment, "sweep")
    parameters = {f"model.setting_{number}": number for number in range(230)} | {"long": "x" * 10_000}
    run = tracker.create_run(experiment, "trial 3", parent, {"fgcme.kind": "trial"}, parameters)
    data = tracker.client.get_run(run).data
    assert data.tags["mlflow.runName"] == "trial 3"
    assert data.tags["mlflow.parentRunId"] == parent
    assert data.tags["fgcme.kind"] == "trial"
    assert len(data.params) == 231
    assert data.params["model.setting_229"] == "229"
    assert data.params["long"] == "x" * 6000
    assert [child.info.run_id for child in tracker.child_runs(parent)] == [run]


def test_metrics_keep_their_steps(tracker: Tracker, experiment: str) -> None:
    run = tracker.create_run(experiment, "metrics")
    tracker.log_metrics(run, {"dev/ua": 0.5, "train/loss": 1.0}, 1)
    tracker.log_metrics(run, {"dev/ua": 0.75, "train/loss": float("nan")}, 2)
    assert tracker.metric_history(run, "dev/ua") == [(1, 0.5), (2, 0.75)]
    assert tracker.client.get_run(run).data.metrics["dev/ua"] == 0.75


def test_a_run_ends_finished_failed_or_killed(tracker: Tracker, experiment: str) -> None:
    def status_after(error: BaseException | None) -> str:
        run = tracker.create_run(experiment, "ending")
        with contextlib.suppress(ValueError, KeyboardInterrupt, SystemExit), tracker.closing_run(run):
            if error is not None:
                raise error
        return str(tracker.client.get_run(run).info.status)

    assert status_after(None) == "FINISHED"
    assert status_after(ValueError("a fault")) == "FAILED"
    assert status_after(KeyboardInterrupt()) == "KILLED"
    assert status_after(SystemExit(143)) == "KILLED"


def test_a_killed_run_goes_on_under_its_id(tracker: Tracker, experiment: str) -> None:
    run = tracker.create_run(experiment, "interrupted")
    tracker.end_run(run, "KILLED")
    tracker.reopen_run(run)
    assert tracker.client.get_run(run).info.status == "RUNNING"


def test_artifacts_come_back_as_they_went(tracker: Tracker, experiment: str, tmp_path: Path) -> None:
    run = tracker.create_run(experiment, "artifacts")
    source = tmp_path / "source"
    source.mkdir()
    (source / "weights").write_bytes(b"\x00\x01")
    (tmp_path / "table.csv").write_text("a,b\n")
    tracker.log_artifact(run, source, "model")
    tracker.log_artifact(run, tmp_path / "table.csv")
    tracker.log_text(run, "training:\n  epochs: 3\n", "experiment.yaml")
    (tmp_path / "copies").mkdir()
    assert (tracker.download_artifact(run, "model", tmp_path / "copies") / "weights").read_bytes() == b"\x00\x01"
    assert tracker.load_yaml(run, "experiment.yaml") == {"training": {"epochs": 3}}
    tracker.log_text(run, "[1e-05, null]", "space.json")
    assert tracker.load_json(run, "space.json") == [1e-5, None]
    with pytest.raises(UserError, match=r"artifact 'experiment\.yaml' is not JSON"):
        tracker.load_json(run, "experiment.yaml")
    assert tracker.has_artifact(run, "model/weights")
    assert tracker.has_artifact(run, "table.csv")
    assert not tracker.has_artifact(run, "model/biases")
    with pytest.raises(UserError, match="has no artifact 'nothing'"):
        tracker.download_artifact(run, "nothing", tmp_path / "copies")


def test_a_run_is_found_by_id_beginning_name_or_as_the_latest(tracker: Tracker, experiment: str) -> None:
    parent = tracker.create_run(experiment, "ravdess's train")
    child = tracker.create_run(experiment, "fold 0, seed 0 of it", parent)
    assert tracker.find_run(child).info.run_id == child
    assert tracker.find_run(child[:10]).info.run_id == child
    assert tracker.find_run("ravdess's train").info.run_id == parent
    assert tracker.find_run("latest").info.run_id == parent


def test_a_run_that_is_not_there_or_not_the_only_one_is_refused(tracker: Tracker, experiment: str) -> None:
    for _ in range(2):
        tracker.create_run(experiment, "twice")
    with pytest.raises(UserError, match="2 or more runs are called 'twice'; give one id"):
        tracker.find_run("twice")
    for unknown in ("abcdef", "no such name", "both ' and \""):
        with pytest.raises(UserError, match="is not recorded at"):
            tracker.find_run(unknown)


def test_a_worker_gets_its_tracker_by_pickle_even_after_use(tracker: Tracker, experiment: str) -> None:
    worker: Tracker = pickle.loads(pickle.dumps(tracker))
    run = tracker.create_run(experiment, "pickled")
    worker.log_metrics(run, {"dev/ua": 1.0}, 1)
    worker.set_tags(run, {"fgcme.note": "by a worker"})
    assert tracker.client.get_run(run).data.tags["fgcme.note"] == "by a worker"


def test_provenance_names_code_and_versions_and_no_place() -> None:
    import torch

    tags = code_version_tags()
    assert (
        tags["fgcme.version.torch"] == torch.__version__.partition("+")[0]
        or tags["fgcme.version.torch"] in torch.__version__
    )
    assert tags["fgcme.commit"]
    assert not any("/" in value for value in tags.values())


def test_a_commit_is_told_and_changes_to_it_are_called_dirty(tmp_path: Path) -> None:
    package = tmp_path / "platform" / "fgcme"
    source = Path(sys.modules["fgcme"].__file__ or "").parent
    shutil.copytree(source, package, ignore=shutil.ignore_patterns("__pycache__"))

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        return subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    def commit() -> str:
        code = "from fgcme.tracking.tracker import code_version_tags; print(code_version_tags()['fgcme.commit'])"
        return subprocess.run(
            [sys.executable, "-c", code], cwd=package.parent, check=True, capture_output=True, text=True
        ).stdout.strip()

    git("init", "-q")
    assert commit() == "unknown"
    git("add", ".")
    git("commit", "-q", "-m", "all")
    assert commit() == git("rev-parse", "HEAD")
    (package / "errors.py").write_text("# changed\n" + (package / "errors.py").read_text())
    assert commit() == git("rev-parse", "HEAD") + "-dirty"


def test_importing_tracking_imports_neither_mlflow_nor_ray() -> None:
    code = "import sys, fgcme.tracking.tracker; sys.exit(bool({'mlflow', 'ray', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_that_somebody_deletes_stops_no_work_and_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = make_tracker(tmp_path)
    run = tracker.create_run(tracker.get_or_create_experiment("deleted"), "fold 0")
    tracker.client.delete_run(run)
    with tracker.closing_run(run):
        tracker.log_metrics(run, {"train/loss": 1.0}, 1)
        tracker.set_tags(run, {"fgcme.failure": "none"})
    assert capsys.readouterr().err.count(f"run {run} was deleted in MLflow: the work goes on") == 1
    # What MLflow refuses for another reason is still an error.
    other = tracker.create_run(tracker.get_or_create_experiment("deleted"), "fold 1")
    with pytest.raises(Exception, match="Invalid"):
        tracker.log_metrics(other, {"no:such/name?": 1.0}, 1)
