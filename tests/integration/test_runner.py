"""Trainings that lose their process, their memory, their state or their run, on a real Ray."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from fgcme.errors import UserError
from fgcme.tracking import Tracker
from pipelines import train
from pipelines.training.failure import MAX_STARTS
from tests.integration.conftest import Make, descendants, program, wait_for

pytestmark = pytest.mark.integration
on_ray = pytest.mark.usefixtures("ray_session")

LONG = {"epochs": 12, "batch_size": 1}


def files(storage: Path, name: str) -> list[Path]:
    """Files of this name in the folders of trainings of fold 0."""
    return list(storage.glob(f"runs/*/fold-0-seed-0/{name}"))


def workers() -> list[psutil.Process]:
    """The processes that train fold 0."""
    return descendants(os.getpid(), "ray::fold 0")


@pytest.mark.survival
def test_a_training_that_runs_out_of_memory_is_started_three_times_and_no_more(
    experiment: Make, tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ray takes the memory for full, and looks every ten seconds, so that most starts are seen.
    monkeypatch.setenv("RAY_memory_usage_threshold", "0.01")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "10000")
    # The training waits for somebody to write to this pipe.
    vectors = tmp_path / "vectors.txt"
    os.mkfifo(vectors)
    path = tmp_path / "small.yaml"
    path.write_text(experiment(model={"semantic": {"embedding": 8, "vectors": str(vectors)}}).to_yaml())
    started = set()
    with program(tmp_path, "train", str(path), "--fold", "0") as driver:
        while driver.poll() is None:
            started |= {process.pid for process in descendants(driver.pid, "ray::fold 0")}
            time.sleep(0.1)
        out, errors = driver.communicate(timeout=60)
    assert driver.returncode == 2, out + errors
    assert len(started) <= MAX_STARTS
    assert out.count("fold 0, seed 0 lost its process, and resumes") == MAX_STARTS - 1
    assert "the machine ran out of memory, and again when it was restarted" in errors
    assert "Traceback" not in out + errors
    assert tracker.find_run("latest").info.status == "FAILED"


@pytest.mark.survival
@on_ray
def test_a_training_that_loses_its_process_ends_like_an_uninterrupted_one(
    experiment: Make, tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = train.run(experiment(training=LONG, storage={"path": str(tmp_path / "undisturbed")}), folds=[0])
    with ThreadPoolExecutor() as threads:

        def disturb() -> None:
            # Found first, so that it is killed as soon as it has saved an epoch.
            [worker] = wait_for(workers)
            wait_for(lambda: files(tmp_path / "storage", "state.pt"), every=0.01)
            worker.kill()

        killing = threads.submit(disturb)
        run = train.run(experiment(training=LONG), folds=[0])
    killing.result()
    assert "fold 0, seed 0 lost its process, and resumes from its last saved epoch" in capsys.readouterr().out
    (child,), (undisturbed,) = tracker.child_runs(run), tracker.child_runs(expected)
    assert child.data.metrics["test/ua"] == undisturbed.data.metrics["test/ua"]
    assert child.info.status == "FINISHED"


@pytest.mark.survival
@on_ray
def test_a_training_that_dies_three_times_without_an_epoch_fails_and_is_started_no_more(
    experiment: Make, tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = False
    # Every start waits, before its first epoch, for somebody to write to this pipe.
    vectors = tmp_path / "vectors.txt"
    os.mkfifo(vectors)

    def kill_on_sight() -> set[int]:
        killed = set()
        while not ended:
            for worker in workers() if files(tmp_path / "storage", "node") else []:
                worker.kill()
                killed.add(worker.pid)
            time.sleep(0.1)
        return killed

    with ThreadPoolExecutor() as threads:
        killing = threads.submit(kill_on_sight)
        try:
            with pytest.raises(UserError, match=r"1 of 1 trainings failed \(its process died, and again"):
                train.run(experiment(model={"semantic": {"embedding": 8, "vectors": str(vectors)}}), folds=[0])
        finally:
            ended = True
    assert len(killing.result()) == MAX_STARTS
    assert capsys.readouterr().out.count("lost its process, and resumes") == MAX_STARTS - 1
    parent = tracker.find_run("latest")
    assert parent.info.status == "FAILED"
    assert [child.info.status for child in tracker.child_runs(parent.info.run_id)] == ["FAILED"]


@on_ray
def test_a_training_whose_state_cannot_be_read_starts_over_and_says_so(
    experiment: Make, tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train.run(experiment(), folds=[0])
    folder = tmp_path / "storage" / "runs" / run / "fold-0-seed-0"
    before = tracker.child_runs(run)[0].data.metrics["test/ua"]
    (folder / "result.json").unlink()
    (folder / "state.pt").write_bytes(b"torn")
    capsys.readouterr()
    assert train.run(experiment(), folds=[0], resume=run) == run
    assert "fold 0, seed 0: state.pt cannot be read: it starts over" in capsys.readouterr().out
    assert tracker.child_runs(run)[0].data.metrics["test/ua"] == before


@on_ray
def test_a_training_continues_when_its_run_is_deleted(
    experiment: Make, tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ThreadPoolExecutor() as threads:

        def delete() -> None:
            (state,) = wait_for(lambda: files(tmp_path / "storage", "state.pt"), every=0.01)
            tracker.delete_run((state.parent / "run").read_text())
            tracker.delete_run(state.parents[1].name)

        deleting = threads.submit(delete)
        run = train.run(experiment(training=LONG), folds=[0])
    deleting.result()
    assert (tmp_path / "storage" / "runs" / run / "fold-0-seed-0" / "result.json").exists()
    printed = capsys.readouterr()
    assert "1 training, " in printed.out and f"run {run} was deleted in MLflow: the work goes on" in printed.err


@on_ray
def test_more_than_the_cluster_has_is_refused_before_any_run_or_folder_is_made(
    experiment: Make, tracker: Tracker, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="one training needs 1000 CPUs at once"):
        train.run(experiment(scaling={"workers": 1000}))
    with pytest.raises(UserError, match="no runs are recorded"):
        tracker.find_run("latest")
    assert not (tmp_path / "storage").exists()
