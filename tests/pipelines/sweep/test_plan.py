"""What a sweep is planned to be, what it takes, and with whom it shares a study, without running one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from fgcme.errors import UserError
from fgcme.experiment import Experiment
from pipelines.sweep.driver import make_proposer
from pipelines.sweep.plan import describe_plan, join_study, plan_sweep, preview, require_databases
from tests import small_corpus
from tests.pipelines.sweep.conftest import MakePlan
from tests.store import make_tracker

RATE = "training.learning_rate"
STEPS = f"parameters:\n  {RATE}: {{float: [0.005, 0.015], step: 0.005}}\n"
POPULATION = {"search": "random", "scheduler": "pbt"}


def test_the_experiment_s_own_settings_are_the_first_initial_trial_and_none_is_tried_twice(make_plan: MakePlan) -> None:
    space = f"parameters:\n  {RATE}: {{float: [0.001, 0.1]}}\ninitial_trials: [{{{RATE}: 0.02}}, {{{RATE}: 0.01}}]\n"
    plan = make_plan(space, tune={"trials": 7})
    assert plan.initial_trials == [{RATE: 0.01}, {RATE: 0.02}]
    assert plan.total == 7


def test_settings_outside_of_the_space_are_not_tried(make_plan: MakePlan) -> None:
    assert make_plan(f"parameters:\n  {RATE}: {{float: [0.1, 0.2]}}\n").initial_trials == []


def test_a_grid_search_tries_the_whole_grid_whatever_the_number_of_trials(make_plan: MakePlan) -> None:
    plan = make_plan(STEPS, tune={"search": "grid", "trials": 50})
    assert plan.initial_trials == [{RATE: 0.005}, {RATE: 0.01}, {RATE: 0.015}]
    assert plan.total == 3


def test_a_plan_is_described_on_one_line(make_plan: MakePlan) -> None:
    plan = make_plan(tune={"trials": 5, "folds": [0, 2]})
    assert describe_plan(plan) == (
        "small-space: 5 trials on the dev part of fold(s) 0, 2 of demo/4class, 32 utterances; "
        "test parts are not looked at"
    )


@pytest.mark.parametrize(("each", "folds"), [(8, [0, 1, 2, 3]), (125, [0, 2]), (84, [0, 1, 2]), (250, [0])])
def test_as_many_folds_decide_by_default_as_have_500_dev_utterances(
    tmp_path: Path, each: int, folds: list[int]
) -> None:
    # Eight speakers, two of them in each dev part.
    corpus = small_corpus.write(tmp_path / "larger", each=each, frame_size=4)
    path = tmp_path / "space.yaml"
    path.write_text(STEPS)
    experiment = small_corpus.experiment(prepare={"folder": str(corpus)}, tune={"folds": None})
    plan = plan_sweep(experiment, str(path))
    assert plan.experiment.tune.planned_folds == folds


@pytest.mark.parametrize(
    ("sections", "same"),
    [
        ({"training": {"epochs": 9}}, False),
        ({"model": {"fusion": {"hidden": 16}}}, False),
        ({"tune": {"folds": [1]}}, False),
        ({"tune": {"trials": 50, "seed": 3}}, True),
        ({"scaling": {"max_concurrent": 1}}, True),
    ],
)
def test_a_plan_s_identity_follows_from_all_that_decides_a_trial_s_result(
    make_plan: MakePlan, sections: dict[str, Any], same: bool
) -> None:
    assert (make_plan().identity == make_plan(**sections).identity) is same
    assert make_plan().identity != make_plan(STEPS).identity


@pytest.mark.parametrize(
    ("scaling", "sentence"),
    [
        ({"workers": 2}, "each trial is one process; set scaling.workers to 0 or 1"),
        (
            {"max_concurrent": 1},
            "the trials take turns on all of Ray's CPUs and GPUs; leave out scaling.max_concurrent",
        ),
    ],
)
def test_scaling_that_a_population_cannot_have_is_refused(
    make_plan: MakePlan, scaling: dict[str, object], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        make_plan(tune=POPULATION, scaling=scaling)


@pytest.mark.parametrize(
    ("scaling", "takes"),
    [
        ({}, (1, 0)),
        ({"cpus_per_worker": 2, "gpus_per_worker": 0.5}, (2, 0.5)),
        ({"workers": 4, "gpus_per_worker": 1}, (4, 4)),
        # The trial's share counts, not the workers'.
        ({"gpus_per_trial": 0.125}, (1, 0.125)),
        ({"workers": 2, "cpus_per_worker": 3, "gpus_per_worker": 1, "gpus_per_trial": 4}, (6, 4)),
        ({"gpus_per_worker": 1, "gpus_per_trial": 0}, (1, 0)),
    ],
)
def test_a_trial_takes_its_workers_cpus_and_either_their_gpus_or_its_own_share(
    make_plan: MakePlan, scaling: dict[str, object], takes: tuple[float, float]
) -> None:
    needs = make_plan(scaling=scaling).scaling
    workers = max(needs.workers, 1)
    assert (workers * needs.cpus_per_worker, workers * needs.gpus_per_worker) == takes


def test_drivers_cannot_share_a_grid(make_plan: MakePlan, tmp_path: Path) -> None:
    plan = make_plan(STEPS, tune={"search": "grid", "study_storage": f"sqlite:///{tmp_path}/study.db"})
    proposer: Any = make_proposer(plan, tmp_path / "one", join_study(plan, resuming=False))
    assert [proposer.suggest(str(n))[RATE] for n in range(3)] == [0.005, 0.01, 0.015]
    with pytest.raises(UserError, match="drivers cannot share a grid; resume it with --resume"):
        join_study(plan, resuming=False)
    assert join_study(plan, resuming=True) is not None


def test_a_sweep_without_a_database_or_of_a_population_shares_no_study(make_plan: MakePlan, tmp_path: Path) -> None:
    assert join_study(make_plan(), resuming=False) is None
    population = make_plan(tune={**POPULATION, "study_storage": f"sqlite:///{tmp_path}/study.db"})
    assert join_study(population, resuming=False) is None


@pytest.fixture
def small(tmp_path: Path) -> dict[str, dict[str, object]]:
    """The sections of a small experiment with a corpus, a store and a folder of its own."""
    return {
        "prepare": {"folder": str(small_corpus.write(tmp_path / "corpus"))},
        "storage": {"path": str(tmp_path / "storage")},
        "tracking": {"uri": make_tracker(tmp_path).uri},
    }


@pytest.fixture
def space(tmp_path: Path) -> str:
    path = tmp_path / "rates.yaml"
    path.write_text(f"parameters:\n  {RATE}: {{choice: [0.01, 0.02]}}\n")
    return str(path)


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"tune": {"study_storage": "nosuch://database"}}, r"tune\.study_storage: nosuch://database cannot be used"),
        (
            {"tune": {"study_storage": "sqlite:////dev/null/study.db"}},
            r"tune\.study_storage: .*study\.db cannot be created",
        ),
        ({"tracking": {"uri": "sqlite:////dev/null/mlflow.db"}}, r"tracking\.uri: .*mlflow\.db cannot be created"),
        ({"tracking": {"uri": "http://127.0.0.1:1"}}, "the MLflow server does not answer"),
    ],
)
def test_a_preview_refuses_a_database_that_the_sweep_could_not_use(
    small: dict[str, dict[str, object]], space: str, sections: dict[str, dict[str, object]], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        preview(small_corpus.experiment(**(small | sections)), space)


def test_a_preview_changes_nothing_in_the_databases(
    small: dict[str, dict[str, object]], space: str, tmp_path: Path
) -> None:
    path = tmp_path / "study.db"
    sharing: Experiment = small_corpus.experiment(
        **small
        | {
            "tune": {"study_storage": f"sqlite:///{path}"},
            "tracking": {"uri": f"sqlite:///{tmp_path}/new/mlflow.db"},
        }
    )
    plan = plan_sweep(sharing, space)
    require_databases(plan)
    assert not path.exists() and not (tmp_path / "new").exists()
    optuna.create_study(storage=f"sqlite:///{path}", study_name="another")
    require_databases(plan)
    assert optuna.get_all_study_names(f"sqlite:///{path}") == ["another"]
    own = optuna.create_study(storage=f"sqlite:///{path}", study_name=plan.title, direction="maximize")
    own.set_user_attr("fgcme.identity", "of something else")
    with pytest.raises(UserError, match="has a study small-rates of another space, corpus or experiment"):
        require_databases(plan)
