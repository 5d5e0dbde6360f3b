"""How a sweep goes on, without running one."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest
from optuna.samplers import RandomSampler
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.search_generator import SearchGenerator

from fgcme.errors import UserError
from fgcme.experiment import Experiment, parse
from fgcme.tracking import Tracker
from pipelines import tune
from tests import small_corpus
from tests.store import make_tracker


def searching(parallel: int) -> ConcurrencyLimiter:
    search = OptunaSearch(dict, metric="objective", mode="max", sampler=RandomSampler(seed=0))
    return ConcurrencyLimiter(search, max_concurrent=parallel)


def test_a_sweep_goes_on_under_the_limits_of_now(tmp_path: Path) -> None:
    state = {"trial_data": [], "runner_data": {"_stopper": "of then", "_iteration": 7}, "stats": {}}
    (tmp_path / "experiment_state-1.json").write_text(json.dumps(state))
    before = searching(parallel=1)
    before.live_trials.add("one")
    SearchGenerator(before).save_to_dir(str(tmp_path), "1")
    tune._forget_limits(tmp_path, slots=5)
    kept = json.loads((tmp_path / "experiment_state-1.json").read_text())
    assert kept == {**state, "runner_data": {"_iteration": 7}}
    after = searching(parallel=5)
    SearchGenerator(after).restore_from_dir(str(tmp_path))
    assert (after.max_concurrent, after.live_trials) == (5, {"one"})


@pytest.fixture
def tracker(tmp_path: Path) -> Tracker:
    return make_tracker(tmp_path)


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


def test_the_run_of_a_driver_that_was_killed_as_it_began_is_ended_by_the_next(
    experiment: Experiment, space: str, tracker: Tracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*arguments: object) -> None:
        raise SystemExit

    planned = tune.plan(experiment, space)
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Tracker, "text", killed)
        tune._begin(tracker, planned, tmp_path)
    lost = tracker.find("latest").info.run_id
    runs = [tune._begin(tracker, planned, tmp_path) for _ in range(2)]
    # It has no folder, so nobody could go on with it; the others wait for that.
    assert [tracker.find(run).info.status for run in (lost, *runs)] == ["KILLED", "RUNNING", "RUNNING"]
    assert [(tmp_path / run / "lock").exists() for run in (lost, *runs)] == [False, True, True]


def test_a_folder_for_sweeps_that_cannot_be_made_is_one_line_and_no_run(
    experiment: Experiment, space: str, tracker: Tracker, tmp_path: Path
) -> None:
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage" / "sweeps").write_text("a file")
    with pytest.raises(UserError, match=r"storage\.path: .*/sweeps/small-rates cannot be written to"):
        tune.run(experiment, space)
    with pytest.raises(UserError, match="no runs are recorded"):
        tracker.find("latest")


def changed(experiment: Experiment, **sections: dict[str, str]) -> Experiment:
    return parse(experiment.model_dump(mode="json") | sections)


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"storage": {"study": "nosuch://database"}}, r"storage\.study: nosuch://database cannot be used"),
        ({"storage": {"study": "sqlite:////dev/null/study.db"}}, r"storage\.study: .*study\.db cannot be made"),
        ({"tracking": {"uri": "sqlite:////dev/null/mlflow.db"}}, r"tracking\.uri: .*mlflow\.db cannot be made"),
        ({"tracking": {"uri": "http://127.0.0.1:1"}}, "the MLflow server does not answer"),
    ],
)
def test_a_preview_refuses_a_database_that_the_sweep_could_not_use(
    experiment: Experiment, space: str, tmp_path: Path, sections: dict[str, dict[str, str]], sentence: str
) -> None:
    content = {**sections, "storage": {"path": str(tmp_path / "storage"), **sections.get("storage", {})}}
    with pytest.raises(UserError, match=sentence):
        tune.preview(changed(experiment, **content), space)


def test_a_preview_looks_into_the_study_and_leaves_nothing_in_it(
    experiment: Experiment, space: str, tmp_path: Path
) -> None:
    path = tmp_path / "study.db"
    sharing = changed(
        experiment,
        storage={"path": str(tmp_path / "storage"), "study": f"sqlite:///{path}"},
        tracking={"uri": f"sqlite:///{tmp_path}/new/mlflow.db"},
    )
    planned = tune.plan(sharing, space)
    tune._require_databases(planned)
    assert not path.exists() and not (tmp_path / "new").exists()
    optuna.create_study(storage=f"sqlite:///{path}", study_name="another")
    tune._require_databases(planned)
    assert optuna.get_all_study_names(f"sqlite:///{path}") == ["another"]
    mine = optuna.create_study(storage=f"sqlite:///{path}", study_name=planned.title, direction="maximize")
    mine.set_user_attr("fgcme.identity", "of something else")
    with pytest.raises(UserError, match="has a study small-rates of another space, corpus or experiment"):
        tune._require_databases(planned)
