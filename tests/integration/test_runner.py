"""Trainings that lose their process, their state or their run, on a real Ray."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fgcme.errors import UserError
from fgcme.tracking import Tracker
from pipelines import train
from tests.integration.conftest import Make, descendants, wait_for

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("ray_session")]

LONG = {"epochs": 12, "batch_size": 1}


def begun(storage: Path, name: str) -> list[Path]:
    """Files of this name that trainings have left."""
    return list(storage.glob(f"runs/*/fold-0-seed-0/{name}"))


def kill_workers() -> int:
    """Kill the processes that train fold 0; returns how many there were."""
    workers = descendants(os.getpid(), "ray::fold 0")
    for worker in workers:
        worker.kill()
    return len(workers)


def test_a_training_that_loses_its_process_resumes_and_gives_what_it_would_have_given(
    experiment: Make, tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = train.run(experiment(training=LONG, storage={"path": str(tmp_path / "undisturbed")}), folds=[0])
    with ThreadPoolExecutor() as threads:

        def disturb() -> int:
            wait_for(lambda: begun(tmp_path / "storage", "state.pt"), every=0.01)
            return kill_workers()

        killing = threads.submit(disturb)
        run = train.run(experiment(training=LONG), folds=[0])
    assert killing.result() == 1
    assert "fold 0, seed 0 was cut short, and resumes from its last epoch" in capsys.readouterr().out
    (child,), (undisturbed,) = tracker.child_runs(run), tracker.child_runs(expected)
    assert child.data.metrics["test/ua"] == undisturbed.data.metrics["test/ua"]
    assert child.info.status == "FINISHED"


def test_a_training_that_dies_three_times_without_an_epoch_fails_and_is_started_no_more(
    experiment: Make, tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = False

    def kill_on_sight() -> int:
        killed = 0
        while not ended:
            killed += kill_workers() if begun(tmp_path / "storage", "node") else 0
        return killed

    with ThreadPoolExecutor() as threads:
        killing = threads.submit(kill_on_sight)
        # An epoch takes longer than a process needs to be seen.
        slow = {"epochs": 2, "batch_size": 1}
        try:
            with pytest.raises(UserError, match=r"1 of 1 trainings failed \(its process died, and again"):
                train.run(experiment(training=slow), folds=[0])
        finally:
            ended = True
    assert killing.result() >= 3
    assert capsys.readouterr().out.count("was cut short, and resumes") == 2
    parent = tracker.find_run("latest")
    assert parent.info.status == "FAILED"
    assert [child.info.status for child in tracker.child_runs(parent.info.run_id)] == ["FAILED"]


def test_a_state_that_cannot_be_read_begins_anew_and_says_so(
    experiment: Make, tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train.run(experiment(), folds=[0])
    folder = tmp_path / "storage" / "runs" / run / "fold-0-seed-0"
    before = tracker.child_runs(run)[0].data.metrics["test/ua"]
    (folder / "result.json").unlink()
    (folder / "state.pt").write_bytes(b"torn")
    capsys.readouterr()
    assert train.run(experiment(), folds=[0], resume=run) == run
    assert "fold 0, seed 0: state.pt cannot be read: it begins anew" in capsys.readouterr().out
    assert tracker.child_runs(run)[0].data.metrics["test/ua"] == before


def test_runs_that_somebody_deletes_stop_no_training(
    experiment: Make, tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with ThreadPoolExecutor() as threads:

        def delete() -> None:
            (state,) = wait_for(lambda: begun(tmp_path / "storage", "state.pt"), every=0.01)
            tracker.client.delete_run((state.parent / "run").read_text())
            tracker.client.delete_run(state.parents[1].name)

        deleting = threads.submit(delete)
        run = train.run(experiment(training=LONG), folds=[0])
    deleting.result()
    assert (tmp_path / "storage" / "runs" / run / "fold-0-seed-0" / "result.json").exists()
    printed = capsys.readouterr()
    assert "1 trainings" in printed.out and f"run {run} was deleted in MLflow: the work goes on" in printed.err


def test_what_the_cluster_lacks_is_refused_before_any_run_or_folder_is_made(
    experiment: Make, tracker: Tracker, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="one training needs 1000 CPUs at once"):
        train.run(experiment(scaling={"workers": 1000}))
    with pytest.raises(UserError, match="no runs are recorded"):
        tracker.find_run("latest")
    assert not (tmp_path / "storage").exists()
