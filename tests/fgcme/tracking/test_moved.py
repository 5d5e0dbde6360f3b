"""A project folder that is moved or renamed goes on working."""

from __future__ import annotations

from pathlib import Path

import pytest

from fgcme.tracking import Tracker, require_store
from fgcme.tracking.moved import follow_move
from tests.store import make_tracker


def tracker_at(folder: Path) -> Tracker:
    return Tracker(f"sqlite:///{folder}/mlflow.db", artifacts=folder / "storage" / "artifacts")


def record(tracker: Tracker, text: str) -> str:
    experiment = tracker.client.create_experiment(f"e-{text}", (tracker.artifacts or Path()).as_uri() + f"/{text}")
    run: str = tracker.client.create_run(experiment).info.run_id
    tracker.client.log_text(run, text, "note.txt")
    return run


def test_artifacts_are_found_where_their_folder_is_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, now = tmp_path / "my project", tmp_path / "renamed" / "deep"
    before.mkdir()
    make_tracker(before)
    run = record(tracker_at(before), "one")
    assert follow_move(before / "mlflow.db") is None
    now.parent.mkdir()
    before.rename(now)
    tracker = tracker_at(now)
    require_store(tracker.uri)
    assert f"its folder was {before} before" in capsys.readouterr().out
    assert tracker.has_artifact(run, "note.txt")
    # Later runs of the experiment are written beside the earlier ones, and nothing where the folder was.
    later = tracker.client.create_run(tracker.client.get_run(run).info.experiment_id)
    tracker.client.log_text(later.info.run_id, "two", "note.txt")
    assert not before.exists() and len(list(now.rglob("note.txt"))) == 2
    assert follow_move(now / "mlflow.db") is None


def test_artifacts_on_a_disk_that_is_away_stay_where_they_are(tmp_path: Path) -> None:
    project, disk = tmp_path / "project", tmp_path / "disk"
    project.mkdir()
    make_tracker(project)
    record(Tracker(f"sqlite:///{project}/mlflow.db", artifacts=disk / "storage" / "artifacts"), "one")
    disk.rename(tmp_path / "unmounted")
    # A folder of the same name is not the run's.
    (project / "storage" / "artifacts" / "one").mkdir(parents=True)
    assert follow_move(project / "mlflow.db") is None


def test_what_is_no_store_is_left_alone(tmp_path: Path) -> None:
    assert follow_move(tmp_path / "new.db") is None
