"""Starting and resuming a sweep: what is refused before any trial runs."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from types import ModuleType

import pytest

from fgcme.data import split_fold
from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.tracking import Tracker
from pipelines import cli, tune
from pipelines.sweep.plan import plan_sweep
from tests import small_corpus


@pytest.fixture
def experiment(tmp_path: Path, tracker: Tracker) -> Experiment:
    return small_corpus.experiment(
        prepare={"folder": str(small_corpus.write(tmp_path / "corpus"))},
        storage={"path": str(tmp_path / "storage")},
        tracking={"uri": tracker.uri},
    )


@pytest.fixture
def space(tmp_path: Path) -> str:
    path = tmp_path / "rates.yaml"
    path.write_text("parameters:\n  training.learning_rate: {choice: [0.01, 0.02]}\n")
    return str(path)


def test_a_folder_for_sweeps_that_cannot_be_created_is_refused_before_a_run_is_created(
    experiment: Experiment, space: str, tracker: Tracker, tmp_path: Path
) -> None:
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage" / "sweeps").write_text("a file")
    with pytest.raises(UserError, match=r"storage\.path: .*/sweeps/small-rates cannot be written to"):
        tune.run(experiment, space)
    with pytest.raises(UserError, match="no runs are recorded"):
        tracker.find_run("latest")


def test_what_is_tuned_on_fold_0_has_seen_the_test_speakers_of_fold_1(experiment: Experiment, space: str) -> None:
    tuned = experiment.model_copy(update={"tune": experiment.tune.model_copy(update={"folds": [0]})})
    plan = plan_sweep(tuned, space)
    table = plan.corpus.table
    tested = {table.speakers[index] for index in split_fold(plan.assignment, 1).test}
    assert tune.dev_speakers(plan) == sorted(tested)


def save_snapshot_of_an_earlier_version(folder: Path) -> None:
    """Save a snapshot as an earlier version would have: its pickle names a module that exists no more."""
    module = ModuleType("earlier_version")
    module.Space = type("Space", (), {"__module__": "earlier_version"})  # type: ignore[attr-defined]
    sys.modules["earlier_version"] = module
    try:
        content = pickle.dumps({"_space": module.Space()})
    finally:
        del sys.modules["earlier_version"]
    (folder / "snapshot").mkdir(parents=True)
    (folder / "snapshot" / "experiment_state-1.json").write_text("{}")
    (folder / "snapshot" / "searcher-state-1.pkl").write_bytes(content)


def test_a_sweep_started_by_an_earlier_version_is_refused_in_one_line_and_left_as_it_is(
    experiment: Experiment, space: str, tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tracker.create_run(
        tracker.get_or_create_experiment("small"), "small-rates tune", tags={"fgcme.commit": "abc123"}
    )
    tracker.end_run(run, "KILLED")
    folder = tmp_path / "storage" / "sweeps" / "small-rates" / run
    save_snapshot_of_an_earlier_version(folder)
    path = tmp_path / "small.yaml"
    path.write_text(experiment.to_yaml())
    assert cli.main(["tune", str(path), "--space", space, "--resume"]) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("fgcme: ")]
    assert f"sweep {run} was started by an earlier version of the code (commit abc123)" in line
    assert "resume it with that version, or start a new sweep without --resume" in line
    assert tracker.find_run(run).info.status == "KILLED"
    assert sorted(path.name for path in folder.iterdir()) == ["snapshot"]
