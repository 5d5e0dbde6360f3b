"""Runs are recorded as they are logged, and end with the work."""

from __future__ import annotations

import contextlib
import pickle
from pathlib import Path

import pytest

from fgcme.errors import UnfinishedError, UserError
from fgcme.tracking import Tracker, outbox_for
from tests.store import make_tracker


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> Tracker:
    return make_tracker(tmp_path_factory.mktemp("tracking"))


@pytest.fixture(scope="module")
def experiment(tracker: Tracker) -> str:
    return tracker.get_or_create_experiment("demo")


def test_an_experiment_is_created_once_with_its_artifacts_in_the_storage_folder(tracker: Tracker) -> None:
    first = tracker.get_or_create_experiment("a paper / on pooling")
    assert tracker.get_or_create_experiment("a paper / on pooling") == first
    location = tracker.client.get_experiment(first).artifact_location
    assert tracker.artifacts is not None
    assert location == (tracker.artifacts / "a-paper-on-pooling").as_uri()


def test_a_deleted_experiment_says_how_to_restore_it(tracker: Tracker) -> None:
    experiment_id = tracker.get_or_create_experiment("gone")
    tracker.client.delete_experiment(experiment_id)
    with pytest.raises(UserError, match=f"mlflow experiments restore --experiment-id {experiment_id}"):
        tracker.get_or_create_experiment("gone")


def test_a_new_run_in_a_deleted_experiment_ends_the_work_with_the_way_back(tracker: Tracker) -> None:
    experiment_id = tracker.get_or_create_experiment("deleted meanwhile")
    parent = tracker.create_run(experiment_id, "sweep")
    tracker.client.delete_experiment(experiment_id)
    with pytest.raises(
        UnfinishedError, match=f"was deleted: .*mlflow experiments restore --experiment-id {experiment_id}"
    ):
        tracker.create_run(experiment_id, "trial 1", parent)
    tracker.client.restore_experiment(experiment_id)
    assert tracker.client.get_run(tracker.create_run(experiment_id, "trial 1", parent)).info.status == "RUNNING"


def test_a_run_has_its_name_parent_tags_and_all_its_parameters(tracker: Tracker, experiment: str) -> None:
    parent = tracker.create_run(experiment, "sweep")
    parameters = {f"model.setting_{number}": number for number in range(230)} | {"long": "x" * 10_000}
    run = tracker.create_run(experiment, "trial 3", parent, {"fgcme.kind": "trial"}, parameters)
    data = tracker.client.get_run(run).data
    assert data.tags["mlflow.runName"] == "trial 3"
    assert data.tags["mlflow.parentRunId"] == parent
    assert data.tags["fgcme.kind"] == "trial"
    assert len(data.params) == 231
    assert len(tracker.client.get_run(parent).data.params) == 0
    assert data.params["model.setting_229"] == "229"
    assert data.params["long"] == "x" * 6000
    assert [child.info.run_id for child in tracker.child_runs(parent)] == [run]


def test_metrics_keep_their_steps(tracker: Tracker, experiment: str) -> None:
    run = tracker.create_run(experiment, "metrics")
    tracker.log_metrics(run, {"dev/ua": 0.5, "train/loss": 1.0}, 1)
    tracker.log_metrics(run, {"dev/ua": 0.75, "train/loss": float("nan")}, 2)
    assert tracker.metric_history(run, "dev/ua") == [(1, 0.5), (2, 0.75)]
    assert tracker.client.get_run(run).data.metrics["dev/ua"] == 0.75


def test_no_metrics_are_no_write(tracker: Tracker, experiment: str) -> None:
    tracker.log_metrics("no such run", {}, 1)


def test_a_long_tag_is_cut_at_mlflow_s_limit(tracker: Tracker, experiment: str) -> None:
    run = tracker.create_run(experiment, "tags", tags={"long": "x" * 10_000})
    tracker.set_tags(run, {"longer": "y" * 10_000})
    tags = tracker.client.get_run(run).data.tags
    assert (tags["long"], tags["longer"]) == ("x" * 8000, "y" * 8000)


def test_texts_and_figures_become_artifacts_of_their_names(tracker: Tracker, experiment: str, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    run = tracker.create_run(experiment, "artifacts")
    tracker.log_text(run, "first", "notes/note.txt")
    tracker.log_text(run, "second", "notes/note.txt")
    tracker.log_figure(run, Figure(), "confusion.png")
    assert tracker.download_artifact(run, "notes/note.txt", tmp_path).read_text() == "second"
    assert tracker.download_artifact(run, "confusion.png", tmp_path).read_bytes().startswith(b"\x89PNG")


def test_an_artifact_that_does_not_exist_is_an_error(tracker: Tracker, experiment: str, tmp_path: Path) -> None:
    run = tracker.create_run(experiment, "artifacts")
    with pytest.raises(FileNotFoundError, match=r"model\.bin: no such file or folder"):
        tracker.log_artifact(run, tmp_path / "model.bin")


def test_a_deleted_run_is_in_the_trash(tracker: Tracker, experiment: str) -> None:
    parent = tracker.create_run(experiment, "parent")
    run = tracker.create_run(experiment, "deleted", parent)
    tracker.delete_run(run)
    assert tracker.child_runs(parent) == []
    assert tracker.client.get_run(run).info.lifecycle_stage == "deleted"


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


def test_a_killed_run_is_reopened_under_its_id(tracker: Tracker, experiment: str) -> None:
    run = tracker.create_run(experiment, "interrupted")
    tracker.end_run(run, "KILLED")
    tracker.reopen_run(run)
    assert tracker.client.get_run(run).info.status == "RUNNING"


def test_a_worker_gets_its_tracker_by_pickle_even_after_use(tracker: Tracker, experiment: str) -> None:
    worker: Tracker = pickle.loads(pickle.dumps(tracker))
    run = tracker.create_run(experiment, "pickled")
    worker.log_metrics(run, {"dev/ua": 1.0}, 1)
    worker.set_tags(run, {"fgcme.note": "by a worker"})
    assert tracker.client.get_run(run).data.tags["fgcme.note"] == "by a worker"


def test_a_run_that_somebody_deletes_stops_no_work_and_the_user_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = make_tracker(tmp_path)
    run = tracker.create_run(tracker.get_or_create_experiment("deleted"), "fold 0")
    tracker.client.delete_run(run)
    with tracker.closing_run(run):
        tracker.log_metrics(run, {"train/loss": 1.0}, 1)
        tracker.set_tags(run, {"fgcme.failure": "none"})
    assert capsys.readouterr().err.count(f"run {run} was deleted in MLflow: the work goes on") == 1
    # Other refusals of MLflow are still errors.
    other = tracker.create_run(tracker.get_or_create_experiment("deleted"), "fold 1")
    with pytest.raises(Exception, match="Invalid"):
        tracker.log_metrics(other, {"no:such/name?": 1.0}, 1)


def test_without_an_outbox_a_write_fails_while_the_store_is_away() -> None:
    tracker = Tracker("http://127.0.0.1:1")
    with pytest.raises(UserError, match="the MLflow server does not answer"):
        tracker.create_run("1", "run")
    with pytest.raises(UserError, match="the MLflow server does not answer"):
        tracker.log_metrics("0" * 32, {"ua": 1.0}, 1)
    tracker.flush_outbox()


def test_with_an_outbox_work_goes_on_and_the_user_is_told_where_the_writes_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = Tracker("http://127.0.0.1:1", outbox=tmp_path / "storage" / "outbox")
    run = tracker.create_run("1", "run", parameters={"training.epochs": 3})
    assert run.startswith("local-")
    with tracker.closing_run(run):
        tracker.log_metrics(run, {"ua": 1.0}, 1)
    assert outbox_for(tmp_path / "storage" / "outbox", tracker.uri).count_pending() == 4
    notice = capsys.readouterr().err
    assert notice.startswith("fgcme: http://127.0.0.1:1: the MLflow server does not answer (connection refused)")
    assert f"4 writes of 1 runs are kept in {tmp_path}/storage/outbox" in notice
    assert f"`fgcme sync --storage {tmp_path}/storage`" in notice


def test_what_is_pending_is_sent_before_runs_are_read(tmp_path: Path) -> None:
    tracker = make_tracker(tmp_path)
    assert tracker.outbox is not None
    experiment = tracker.get_or_create_experiment("flushed")
    entry = {"kind": "start", "experiment": experiment, "name": "run", "parent": None, "tags": {}, "time": 1}
    outbox_for(tracker.outbox, tracker.uri).append("local-1", entry)
    tracker.flush_outbox()
    assert tracker.find_run("local-1").info.run_name == "run"
    tracker.set_tags("local-1", {"fgcme.note": "by the local id"})
    assert tracker.find_run("run").data.tags["fgcme.note"] == "by the local id"
