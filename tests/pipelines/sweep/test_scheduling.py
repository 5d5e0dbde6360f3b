"""What stops trials, and what changes them, as the experiment asks for it."""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, MedianStoppingRule, TrialScheduler

from fgcme.errors import UserError
from fgcme.experiment import Experiment, Parameter, Space
from pipelines.sweep import scheduling
from pipelines.sweep.scheduling import Hyperband, Population
from tests import small_corpus

SPACE = Space.model_validate({"parameters": {"model.pooling.kind": {"choice": ["mean", "lse"]}}})
RATES = Space.model_validate(
    {
        "parameters": {
            "training.learning_rate": {"float": [1e-4, 1e-2], "log": True},
            "training.gradient_clip": {"choice": [None, 1.0, 5.0]},
            "training.augmentation.time_masks": {"int": [0, 2]},
            "model.fusion.dropout": {"float": [0.0, 0.6], "step": 0.1},
        }
    }
)
SHIPPED = Path(__file__).parents[2] / "search_spaces"
PARAMETERS = [
    pytest.param(Parameter.model_validate(content), id=f"{path.stem}-{name}")
    for path in sorted(SHIPPED.glob("*.yaml"))
    for name, content in yaml.safe_load(path.read_text()).get("parameters", {}).items()
]


def experiment(**settings: Any) -> Experiment:
    return small_corpus.experiment(tune={"grace_period": 2, **settings}, training={"epochs": 8})


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, ASHAScheduler),
        ({"scheduler": "hyperband"}, Hyperband),
        ({"scheduler": "median"}, MedianStoppingRule),
        ({"scheduler": "none"}, FIFOScheduler),
        # A trial that is stopped early has no cost and no objective to compare with those of others.
        ({"search": "nsga2", "cost": "parameters"}, FIFOScheduler),
    ],
)
def test_the_scheduler_is_the_one_that_was_asked_for(settings: dict[str, Any], kind: type) -> None:
    assert type(scheduling.scheduler(experiment(**settings), SPACE)) is kind


def test_population_based_training_takes_only_what_may_change_in_the_middle_of_a_training() -> None:
    settings = experiment(scheduler="pbt", search="random")
    with pytest.raises(UserError, match=r"model\.pooling\.kind cannot change in the middle of a training"):
        scheduling.scheduler(settings, SPACE)
    assert type(scheduling.scheduler(settings, RATES)) is Population


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_whatever_is_moved_stays_in_its_range_and_on_its_steps(parameter: Parameter) -> None:
    dice = random.Random(0)
    for value in parameter.boundary_values():
        for _ in range(30):
            value = scheduling.moved(parameter, value, dice.choice((-1, 1)))
            assert parameter.contains(value) and (parameter.integer is None or isinstance(value, int))


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_whatever_is_moved_one_way_comes_to_the_end_of_its_range(parameter: Parameter) -> None:
    lowest, highest = parameter.boundary_values()[0], parameter.boundary_values()[-1]
    value = highest
    for _ in range(200):
        value = scheduling.moved(parameter, value, -1)
    assert value == lowest
    # Of a range without steps nought is left by drawing anew.
    if lowest != 0 or parameter.grid():
        for _ in range(200):
            value = scheduling.moved(parameter, value, 1)
        assert value == highest


def test_a_copy_is_drawn_anew_here_and_there_and_keeps_what_does_not_vary() -> None:
    configuration = {
        "number": 3,
        "training.learning_rate": 1e-3,
        "training.gradient_clip": None,
        "training.augmentation.time_masks": 1,
        "model.fusion.dropout": 0.3,
    }
    fresh = {**configuration, "training.learning_rate": 7e-3}
    dice = random.Random(0)
    varied = [scheduling.explored(configuration, fresh, RATES, dice) for _ in range(400)]
    assert {each["number"] for each in varied} == {3}
    rates = [round(each["training.learning_rate"], 9) for each in varied]
    assert set(rates) == {0.8e-3, 1.2e-3, 7e-3}
    assert 60 < rates.count(7e-3) < 140
    assert {each["model.fusion.dropout"] for each in varied} == {0.2, 0.3, 0.4}


def test_a_population_explores_by_its_seed_and_goes_on_where_it_was_when_it_was_kept() -> None:
    def explorations(population: Any, configuration: Any, times: int = 20) -> list[Any]:
        explore, made = population._custom_explore_fn, []
        for _ in range(times):
            configuration = explore(configuration)
            assert all(parameter.contains(configuration[name]) for name, parameter in RATES.parameters.items())
            made.append(configuration)
        return made

    begin = {name: parameter.boundary_values()[-1] for name, parameter in RATES.parameters.items()}
    one, same, other = (
        scheduling.scheduler(experiment(scheduler="pbt", search="random", seed=seed), RATES) for seed in (0, 0, 1)
    )
    undisturbed = explorations(one, begin)
    assert undisturbed != explorations(other, begin)
    half = explorations(same, begin, 10)
    assert half + explorations(pickle.loads(pickle.dumps(same)), half[-1], 10) == undisturbed


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[Trial]:
    tune.register_trainable("nothing", lambda configuration: None)
    return [Trial("nothing", stub=True) for _ in range(3)]


def reported(scheduler: TrialScheduler, trial: Trial, epoch: int) -> str:
    decision: str = scheduler.on_trial_result(controller(), trial, {"epoch": epoch, "objective": 0.5})
    return decision


def controller() -> Any:
    """As much of Ray Tune's as a scheduler asks here: it stops trials."""
    return SimpleNamespace(stop_trial=lambda trial: None)


def hyperband() -> TrialScheduler:
    return scheduling.scheduler(experiment(scheduler="hyperband", reduction_factor=2), SPACE)


def test_hyperband_goes_on_with_a_trial_that_was_lost_and_is_tried_again(trials: list[Trial]) -> None:
    scheduler = hyperband()
    for trial in trials:
        scheduler.on_trial_add(controller(), trial)
        trial.set_status(Trial.RUNNING)
        assert reported(scheduler, trial, 1) == TrialScheduler.CONTINUE
    lost = trials[0]
    lost.set_status(Trial.ERROR)
    scheduler.on_trial_error(controller(), lost)
    lost.set_status(Trial.PENDING)
    scheduler.on_trial_add(controller(), lost)
    lost.set_status(Trial.RUNNING)
    assert reported(scheduler, lost, 1) == TrialScheduler.CONTINUE
    [bracket] = scheduler._hyperbands[0]  # type: ignore[attr-defined]
    assert bracket.current_trials() == trials


def test_hyperband_waits_for_no_trial_that_is_given_up(trials: list[Trial]) -> None:
    scheduler = hyperband()
    for trial in trials:
        scheduler.on_trial_add(controller(), trial)
        trial.set_status(Trial.RUNNING)
    scheduler.on_trial_error(controller(), trials[0])
    [bracket] = scheduler._hyperbands[0]  # type: ignore[attr-defined]
    assert bracket.current_trials() == trials[1:]


def test_hyperband_of_a_resumed_sweep_waits_for_no_trial_that_has_ended(trials: list[Trial]) -> None:
    scheduler = hyperband()
    ended, going = trials[0], trials[1]
    ended.set_status(Trial.TERMINATED)
    for trial in (ended, going):
        scheduler.on_trial_add(controller(), trial)
    going.set_status(Trial.RUNNING)
    assert reported(scheduler, going, 8) == TrialScheduler.STOP
