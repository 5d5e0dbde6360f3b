"""What a sweep's driver knows is kept of one moment, and found again whatever it was killed at."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from pipelines.sweep import snapshot


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    folder = tmp_path / "staging"
    folder.mkdir()
    (folder / "experiment_state-1.json").write_text("trials of one moment")
    (folder / "searcher-state-1.pkl").write_text("the search of the same")
    (folder / "progress.txt").write_text("nothing to keep")
    return folder


def asha() -> ASHAScheduler:
    return ASHAScheduler(metric="objective", mode="max", grace_period=1, max_t=4)


def test_what_was_kept_replaces_whatever_ray_tune_has_left(tmp_path: Path, staging: Path) -> None:
    folder = tmp_path / "sweep"
    folder.mkdir()
    snapshot.save(folder, staging, FIFOScheduler())
    (folder / "experiment_state-2.json").write_text("torn")
    assert snapshot.restore(folder)
    assert sorted(path.name for path in folder.glob("*-*")) == ["experiment_state-1.json", "searcher-state-1.pkl"]
    assert (folder / "experiment_state-1.json").read_text() == "trials of one moment"


def test_members_of_a_population_that_have_not_begun_are_kept(tmp_path: Path, staging: Path) -> None:
    folder = tmp_path / "sweep"
    folder.mkdir()
    (staging / "basic-variant-state-1.json").write_text("who is still to come")
    snapshot.save(folder, staging, FIFOScheduler())
    assert snapshot.restore(folder)
    assert (folder / "basic-variant-state-1.json").read_text() == "who is still to come"


def test_a_driver_killed_between_two_snapshots_has_the_one_before(tmp_path: Path, staging: Path) -> None:
    folder = tmp_path / "sweep"
    folder.mkdir()
    snapshot.save(folder, staging, FIFOScheduler())
    (folder / "snapshot").rename(folder / "snapshot.old")
    (folder / "snapshot.new").mkdir()
    assert snapshot.restore(folder)
    assert (folder / "experiment_state-1.json").read_text() == "trials of one moment"
    snapshot.save(folder, staging, FIFOScheduler())
    assert [path.name for path in folder.glob("snapshot*")] == ["snapshot"]


def test_where_nothing_was_kept_there_is_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert not snapshot.restore(tmp_path)


def test_a_scheduler_remembers_the_trials_that_have_ended(tmp_path: Path, staging: Path) -> None:
    before, after = asha(), asha()
    rung = before._brackets[0]._rungs[0][1]
    rung.update({"one": 0.9, "two": 0.8})
    snapshot.save(tmp_path, staging, before)
    snapshot.restore_scheduler(tmp_path, after)
    assert after._brackets[0]._rungs[0][1] == {"one": 0.9, "two": 0.8}
