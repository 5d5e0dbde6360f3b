"""What a sweep is planned to be and asks for, with whom it shares a study, and how it goes on, without running one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.samplers import RandomSampler
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch
from ray.tune.search.search_generator import SearchGenerator

from fgcme.errors import UserError
from fgcme.experiment import Experiment, parse_experiment
from fgcme.tracking import Tracker
from pipelines import tune
from pipelines.sweep import driver
from pipelines.sweep import plan as plans
from pipelines.sweep.plan import SweepPlan
from pipelines.sweep.recorder import FailureLimit
from pipelines.sweep.trial import TrialFolder
from tests import small_corpus
from tests.store import make_tracker

SPACE = """\
parameters:
  training.learning_rate: {float: [1.0e-4, 1.0e-2], log: true}
"""
STEPS = """\
parameters:
  training.learning_rate: {float: [0.005, 0.015], step: 0.005}
"""
Planned = Callable[..., SweepPlan]


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    """Plans small sweeps on a small corpus."""
    corpus = small_corpus.write(tmp_path / "corpus")

    def make(space: str = SPACE, **sections: dict[str, Any]) -> SweepPlan:
        path = tmp_path / "space.yaml"
        path.write_text(space)
        return plans.plan_sweep(small_corpus.experiment(**sections, prepare={"folder": str(corpus)}), str(path))

    return make


POPULATION = {"search": "random", "scheduler": "pbt"}


@pytest.mark.parametrize(
    ("scaling", "sentence"),
    [
        ({"workers": 2}, "its trials are of one process each; set scaling.workers to 0 or 1"),
        ({"max_concurrent": 1}, "its trials take turns at all that Ray has; leave scaling.max_concurrent out"),
    ],
)
def test_a_population_is_refused_what_it_cannot_have(
    planned: Planned, scaling: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        planned(tune=POPULATION, scaling=scaling)


def test_a_population_takes_turns_and_keeps_few_checkpoints(planned: Planned, tmp_path: Path) -> None:
    def made(**settings: Any) -> Any:
        plan = planned(tune={"trials": 6, "grace_period": 2, **settings})
        folder, tracker = tmp_path / "sweep", make_tracker(tmp_path)
        proposing = driver.make_proposer(plan, folder, None)
        return driver.make_tuner(plan, folder, tracker, 2, proposing, FailureLimit(0))._local_tuner

    population, others = made(**POPULATION), made()
    assert population._tune_config.max_concurrent_trials is None
    assert others._tune_config.max_concurrent_trials == 2
    # A copy is of what was kept up to an interval of two epochs ago, and is read within another.
    assert population._run_config.checkpoint_config.num_to_keep > 4


def test_a_grid_is_one_driver_s_alone(planned: Planned, tmp_path: Path) -> None:
    study = f"sqlite:///{tmp_path}/study.db"
    plan = planned(STEPS, tune={"search": "grid", "study_storage": study})
    storage = plans.join_study(plan, resuming=False)
    proposed = driver.make_proposer(plan, tmp_path / "one", storage)
    assert [proposed.suggest(str(n))["training.learning_rate"] for n in range(3)] == [0.005, 0.01, 0.015]  # type: ignore
    with pytest.raises(UserError, match="a grid is one driver's alone; go on with --resume"):
        plans.join_study(plan, resuming=False)
    assert plans.join_study(plan, resuming=True) is not None


def test_a_trial_that_a_killed_driver_forgot_leaves_nothing_and_is_proposed_again(
    planned: Planned, tmp_path: Path
) -> None:
    plan, tracker = planned(tune={"study_storage": f"sqlite:///{tmp_path}/study.db"}), make_tracker(tmp_path)
    folder = tmp_path / "sweep"
    storage = plans.join_study(plan, resuming=False)
    assert storage is not None
    drawn = driver.make_proposer(plan, folder, storage).suggest("forgotten")  # type: ignore[union-attr]
    kept = TrialFolder(folder / "trials" / "0")
    kept.folder.mkdir(parents=True)
    run = tracker.create_run(tracker.get_or_create_experiment("small"), "trial 0")
    kept.run.write_text(run)
    kept.run_open_marker.touch()
    driver.give_up_orphans(plan, folder, tracker, storage)
    assert tracker.find_run(run).info.status == "KILLED"
    assert not kept.folder.exists() and not driver.end_leftovers(tracker, folder / "trials")
    again = driver.make_proposer(plan, folder, storage).suggest("again")  # type: ignore[union-attr]
    assert (again["training.learning_rate"], again["number"]) == (drawn["training.learning_rate"], 1)


@pytest.mark.parametrize(
    ("scaling", "takes"),
    [
        ({}, (1, 0)),
        ({"cpus_per_worker": 2, "gpus_per_worker": 0.5}, (2, 0.5)),
        ({"workers": 4, "gpus_per_worker": 1}, (4, 4)),
        # What a trial is given is its own, whatever its workers would ask for.
        ({"gpus_per_trial": 0.125}, (1, 0.125)),
        ({"workers": 2, "cpus_per_worker": 3, "gpus_per_worker": 1, "gpus_per_trial": 0.5}, (6, 0.5)),
        ({"gpus_per_worker": 1, "gpus_per_trial": 0}, (1, 0)),
    ],
)
def test_a_trial_takes_what_its_workers_need_or_the_gpus_that_it_is_given(
    planned: Planned, scaling: dict[str, object], takes: tuple[float, float]
) -> None:
    needs = planned(scaling=scaling).scaling
    workers = max(needs.workers, 1)
    assert (workers * needs.cpus_per_worker, workers * needs.gpus_per_worker) == takes


def test_the_workers_of_a_trial_share_its_gpus(planned: Planned, tmp_path: Path) -> None:
    plan = planned(scaling={"workers": 2, "gpus_per_trial": 0.5})
    assert driver.trial_context(plan, tmp_path).experiment.scaling.gpus_per_worker == 0.25


def searching(parallel: int) -> ConcurrencyLimiter:
    search = OptunaSearch(dict, metric="objective", mode="max", sampler=RandomSampler(seed=0))
    return ConcurrencyLimiter(search, max_concurrent=parallel)


def test_a_sweep_goes_on_under_the_limits_of_now(tmp_path: Path) -> None:
    state = {"trial_data": [], "runner_data": {"_stopper": "of then", "_iteration": 7}, "stats": {}}
    (tmp_path / "experiment_state-1.json").write_text(json.dumps(state))
    before = searching(parallel=1)
    before.live_trials.add("one")
    SearchGenerator(before).save_to_dir(str(tmp_path), "1")
    driver.delete_limits(tmp_path, slots=5)
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


def test_a_folder_for_sweeps_that_cannot_be_made_is_one_line_and_no_run(
    experiment: Experiment, space: str, tracker: Tracker, tmp_path: Path
) -> None:
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage" / "sweeps").write_text("a file")
    with pytest.raises(UserError, match=r"storage\.path: .*/sweeps/small-rates cannot be written to"):
        tune.run(experiment, space)
    with pytest.raises(UserError, match="no runs are recorded"):
        tracker.find_run("latest")


def changed(experiment: Experiment, **sections: dict[str, str]) -> Experiment:
    return parse_experiment(experiment.model_dump(mode="json") | sections)


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"tune": {"study_storage": "nosuch://database"}}, r"tune\.study_storage: nosuch://database cannot be used"),
        (
            {"tune": {"study_storage": "sqlite:////dev/null/study.db"}},
            r"tune\.study_storage: .*study\.db cannot be made",
        ),
        ({"tracking": {"uri": "sqlite:////dev/null/mlflow.db"}}, r"tracking\.uri: .*mlflow\.db cannot be made"),
        ({"tracking": {"uri": "http://127.0.0.1:1"}}, "the MLflow server does not answer"),
    ],
)
def test_a_preview_refuses_a_database_that_the_sweep_could_not_use(
    experiment: Experiment, space: str, tmp_path: Path, sections: dict[str, dict[str, str]], sentence: str
) -> None:
    content = {**sections, "storage": {"path": str(tmp_path / "storage"), **sections.get("storage", {})}}
    with pytest.raises(UserError, match=sentence):
        plans.preview(changed(experiment, **content), space)


def test_a_preview_looks_into_the_study_and_leaves_nothing_in_it(
    experiment: Experiment, space: str, tmp_path: Path
) -> None:
    path = tmp_path / "study.db"
    sharing = changed(
        experiment,
        storage={"path": str(tmp_path / "storage")},
        tune={"study_storage": f"sqlite:///{path}"},
        tracking={"uri": f"sqlite:///{tmp_path}/new/mlflow.db"},
    )
    planned = plans.plan_sweep(sharing, space)
    plans.require_databases(planned)
    assert not path.exists() and not (tmp_path / "new").exists()
    optuna.create_study(storage=f"sqlite:///{path}", study_name="another")
    plans.require_databases(planned)
    assert optuna.get_all_study_names(f"sqlite:///{path}") == ["another"]
    mine = optuna.create_study(storage=f"sqlite:///{path}", study_name=planned.title, direction="maximize")
    mine.set_user_attr("fgcme.identity", "of something else")
    with pytest.raises(UserError, match="has a study small-rates of another space, corpus or experiment"):
        plans.require_databases(planned)
