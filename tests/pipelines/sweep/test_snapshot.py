"""What a sweep's driver knows is saved as of one moment, and restored after it was killed at any other."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from fgcme.errors import UserError
from fgcme.experiment import Space
from pipelines.sweep import search, shared_study, snapshot
from pipelines.sweep.internals import TuneRecords
from pipelines.sweep.snapshot import SnapshotSaver
from tests import small_corpus

SPACE = Space.model_validate({"parameters": {"training.learning_rate": {"float": [1e-4, 1e-2], "log": True}}})


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    folder = tmp_path / "staging"
    folder.mkdir()
    (folder / "experiment_state-1.json").write_text("trials of one moment")
    (folder / "searcher-state-1.pkl").write_text("the search of the same")
    (folder / "progress.txt").write_text("not a record")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a sweep."""
    folder = tmp_path / "sweep"
    folder.mkdir()
    return folder


def asha() -> ASHAScheduler:
    return ASHAScheduler(time_attr="epoch", metric="objective", mode="max", grace_period=1, max_t=4, reduction_factor=2)


@dataclass
class Clock:
    """Time as a sweep's driver sees it.

    Attributes:
        now: in seconds.
    """

    now: float = 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", lambda: clock.now)
    return clock


def records_of(staging: Path, writing: Callable[[], object] = lambda: None, stopped: bool = False) -> TuneRecords:
    """Ray Tune's records, of which the snapshot tells how often they were written."""

    def write() -> None:
        writing()
        with (staging / "experiment_state-1.json").open("a") as file:
            file.write("!")

    return TuneRecords(write, staging, FIFOScheduler(), stopped)  # type: ignore[no-untyped-call]


def saved(folder: Path) -> int:
    """How often the records were written that the snapshot holds."""
    return (folder / "snapshot" / "experiment_state-1.json").read_text().count("!")


def test_saving_a_snapshot_takes_a_fiftieth_of_the_time_at_most(folder: Path, staging: Path, clock: Clock) -> None:
    def write_for_a_while() -> None:
        clock.now += 0.06

    saver, records = SnapshotSaver(folder), records_of(staging, write_for_a_while)
    while clock.now < 4.5:
        saver.save(records, now=False)
        clock.now += 0.1
    # At once, and after three seconds and a little.
    assert saved(folder) == 2 and saver.seconds == pytest.approx(0.12)
    saver.save(records, now=True)
    assert saved(folder) == 3


def test_a_quick_snapshot_is_saved_every_second(folder: Path, staging: Path, clock: Clock) -> None:
    saver, records = SnapshotSaver(folder), records_of(staging)
    while clock.now < 2.5:
        saver.save(records, now=False)
        clock.now += 0.1
    assert saved(folder) == 3


def test_no_snapshot_is_saved_once_ray_tune_s_records_say_that_all_trials_have_ended(
    folder: Path, staging: Path
) -> None:
    saver = SnapshotSaver(folder)
    saver.save(records_of(staging), now=True)
    saver.save(records_of(staging, stopped=True), now=True)
    assert saved(folder) == 1


def test_restored_records_replace_those_that_ray_tune_has_left(folder: Path, staging: Path) -> None:
    snapshot.save(folder, staging, FIFOScheduler())
    (folder / "experiment_state-2.json").write_text("torn")
    assert snapshot.restore(folder)
    assert sorted(path.name for path in folder.glob("*-*")) == ["experiment_state-1.json", "searcher-state-1.pkl"]
    assert (folder / "experiment_state-1.json").read_text() == "trials of one moment"


def test_members_of_a_population_that_have_not_started_are_restored(folder: Path, staging: Path) -> None:
    (staging / "basic-variant-state-1.json").write_text("who is still to come")
    snapshot.save(folder, staging, FIFOScheduler())
    assert snapshot.restore(folder)
    assert (folder / "basic-variant-state-1.json").read_text() == "who is still to come"


def test_a_driver_killed_while_it_saves_leaves_the_snapshot_before(folder: Path, staging: Path) -> None:
    snapshot.save(folder, staging, FIFOScheduler())
    (folder / "snapshot").rename(folder / "snapshot.old")
    (folder / "snapshot.new").mkdir()
    assert snapshot.restore(folder)
    assert (folder / "experiment_state-1.json").read_text() == "trials of one moment"
    snapshot.save(folder, staging, FIFOScheduler())
    assert [path.name for path in folder.glob("snapshot*")] == ["snapshot"]


def test_nothing_is_restored_without_a_snapshot(folder: Path) -> None:
    assert not snapshot.restore(folder)
    snapshot.require_readable(folder, "abc123")


def decision(scheduler: TrialScheduler, name: str, objective: float) -> str:
    """What a scheduler decides of a trial after its first epoch."""
    trial: Any = SimpleNamespace(trial_id=name)
    scheduler.on_trial_add(None, trial)  # type: ignore[arg-type]
    return str(scheduler.on_trial_result(None, trial, {"epoch": 1, "objective": objective}))  # type: ignore[arg-type]


def test_a_restored_scheduler_ranks_trials_against_those_that_have_ended(folder: Path, staging: Path) -> None:
    before, after, fresh = asha(), asha(), asha()
    assert [decision(before, "one", 0.9), decision(before, "two", 0.8)] == ["CONTINUE", "STOP"]
    snapshot.save(folder, staging, before)
    snapshot.restore_scheduler(folder, after)
    assert (decision(after, "three", 0.7), decision(fresh, "three", 0.7)) == ("STOP", "CONTINUE")


def pickle_of_gone(monkeypatch: pytest.MonkeyPatch, gone: str) -> bytes:
    """A pickle of an object whose `module`, or whose `class` in it, exists no more."""
    module = ModuleType("earlier_version")
    module.Space = type("Space", (), {"__module__": "earlier_version"})  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "earlier_version", module)
        content = pickle.dumps({"space": module.Space()})
    if gone == "class":
        monkeypatch.setitem(sys.modules, "earlier_version", ModuleType("earlier_version"))
    return content


@pytest.mark.parametrize("gone", ["module", "class"])
@pytest.mark.parametrize("name", ["searcher-state-1.pkl", "search_gen_state-1.json", "scheduler.pkl"])
def test_a_snapshot_of_an_earlier_version_of_the_code_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, gone: str, name: str
) -> None:
    (folder / "snapshot").mkdir()
    (folder / "snapshot" / name).write_bytes(pickle_of_gone(monkeypatch, gone))
    with pytest.raises(UserError) as error:
        snapshot.require_readable(folder, "abc123")
    message = str(error.value)
    assert "sweep sweep was started by an earlier version of the code (commit abc123)" in message
    assert "earlier_version" in message
    assert "resume it with that version, or start a new sweep without --resume" in message


@pytest.mark.parametrize("kind", ["tpe", "random", "cmaes", "nsga2"])
@pytest.mark.parametrize("shared", [False, True])
def test_a_snapshot_of_this_version_of_the_code_is_not_refused(
    folder: Path, tmp_path: Path, kind: str, shared: bool
) -> None:
    database = tmp_path / "study.db"
    experiment = small_corpus.experiment(tune={"search": kind, "cost": "parameters" if kind == "nsga2" else "none"})
    storage = None
    if shared:
        storage = shared_study.open_study(
            f"sqlite:///{database}", "study", "identity", search.directions(experiment.tune)
        )
    searcher = search.make_searcher(experiment, SPACE, [], "sweep", "study", storage)
    for number in range(12):
        searcher.suggest(str(number))
        searcher.on_trial_complete(str(number), {"objective": number / 12, "cost": 1.0, "training_iteration": 1})
    (folder / "snapshot").mkdir()
    searcher.save(str(folder / "snapshot" / "searcher-state-1.pkl"))
    snapshot.save(folder, folder / "snapshot", asha())
    database.unlink(missing_ok=True)
    snapshot.require_readable(folder, "abc123")
    # Nothing was asked of the database.
    assert not database.exists()
