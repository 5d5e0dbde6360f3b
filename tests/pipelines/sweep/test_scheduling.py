"""The scheduler that an experiment asks for, and how trials are stopped or changed."""

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
from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule, TrialScheduler

from fgcme.errors import UserError
from fgcme.experiment import Experiment, Parameter, Space
from pipelines.sweep import scheduling
from pipelines.sweep.scheduling import Exploration, NoScheduler, RestartableHyperband, SeededPopulation
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
SHIPPED = Path(__file__).parents[3] / "search_spaces"
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
        ({"scheduler": "hyperband"}, RestartableHyperband),
        ({"scheduler": "median"}, MedianStoppingRule),
        ({"scheduler": "none"}, NoScheduler),
        # A trial that is stopped early has no cost and no objective to compare with those of others.
        ({"search": "nsga2", "cost": "parameters"}, NoScheduler),
    ],
)
def test_the_scheduler_is_the_one_that_the_experiment_asks_for(settings: dict[str, Any], kind: type) -> None:
    assert isinstance(scheduling.make_scheduler(experiment(**settings), SPACE), kind)


def test_population_based_training_only_varies_what_may_change_during_a_training() -> None:
    settings = experiment(scheduler="pbt", search="random")
    with pytest.raises(UserError, match=r"model\.pooling\.kind cannot change during a training"):
        scheduling.make_scheduler(settings, SPACE)
    assert type(scheduling.make_scheduler(settings, RATES)) is SeededPopulation


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_a_perturbed_value_stays_in_its_range_and_on_its_steps(parameter: Parameter) -> None:
    generator = random.Random(0)
    for value in parameter.boundary_values():
        for _ in range(30):
            value = scheduling.perturb(parameter, value, generator.choice((-1, 1)))
            assert parameter.contains(value) and (parameter.integer is None or isinstance(value, int))


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_a_value_perturbed_one_way_reaches_the_end_of_its_range(parameter: Parameter) -> None:
    lowest, highest = parameter.boundary_values()[0], parameter.boundary_values()[-1]
    value = highest
    for _ in range(200):
        value = scheduling.perturb(parameter, value, -1)
    assert value == lowest
    # A fifth of 0 is 0: without steps only resampling leaves it.
    if lowest != 0 or parameter.grid():
        for _ in range(200):
            value = scheduling.perturb(parameter, value, 1)
        assert value == highest


def test_a_copy_is_resampled_or_perturbed_and_keeps_what_does_not_vary() -> None:
    configuration = {
        "number": 3,
        "training.learning_rate": 1e-3,
        "training.gradient_clip": None,
        "training.augmentation.time_masks": 1,
        "model.fusion.dropout": 0.3,
    }
    fresh = {**configuration, "training.learning_rate": 7e-3}
    generator = random.Random(0)
    varied = [scheduling.explore(configuration, fresh, RATES, generator) for _ in range(400)]
    assert {each["number"] for each in varied} == {3}
    rates = [round(each["training.learning_rate"], 9) for each in varied]
    assert set(rates) == {0.8e-3, 1.2e-3, 7e-3}
    assert 60 < rates.count(7e-3) < 140
    assert {each["model.fusion.dropout"] for each in varied} == {0.2, 0.3, 0.4}


def test_exploration_follows_from_its_seed_and_continues_after_it_was_pickled() -> None:
    def explored(explore: Exploration, configuration: Any, times: int = 20) -> list[Any]:
        configurations = []
        for _ in range(times):
            configuration = explore(configuration)
            assert all(parameter.contains(configuration[name]) for name, parameter in RATES.parameters.items())
            configurations.append(configuration)
        return configurations

    begin = {name: parameter.boundary_values()[-1] for name, parameter in RATES.parameters.items()}
    undisturbed = explored(Exploration(RATES, seed=0), begin)
    assert undisturbed != explored(Exploration(RATES, seed=1), begin)
    pickled = Exploration(RATES, seed=0)
    half = explored(pickled, begin, 10)
    assert half + explored(pickle.loads(pickle.dumps(pickled)), half[-1], 10) == undisturbed


def test_the_seed_decides_whom_a_bad_member_copies_even_after_pickling(
    trials: list[Trial],
) -> None:
    def donors(scheduler: Any, times: int = 20) -> list[int]:
        return [trials.index(scheduler.choose_donor(trials)) for _ in range(times)]

    def population(seed: int) -> Any:
        return scheduling.make_scheduler(experiment(scheduler="pbt", search="random", seed=seed), RATES)

    undisturbed = donors(population(0))
    assert set(undisturbed) == {0, 1, 2} and undisturbed != donors(population(1))
    pickled = population(0)
    half = donors(pickled, 10)
    # Code elsewhere that draws at random changes nothing.
    random.random()
    assert half + donors(pickle.loads(pickle.dumps(pickled)), 10) == undisturbed


@pytest.fixture
def trials() -> list[Trial]:
    tune.register_trainable("nothing", lambda configuration: None)
    return [Trial("nothing", stub=True) for _ in range(3)]


def reported(scheduler: TrialScheduler, trial: Trial, epoch: int) -> str:
    decision: str = scheduler.on_trial_result(controller(), trial, {"epoch": epoch, "objective": 0.5})
    return decision


def controller() -> Any:
    """What schedulers use of Ray Tune's controller here: it stops trials."""
    return SimpleNamespace(stop_trial=lambda trial: None)


def hyperband() -> TrialScheduler:
    return scheduling.make_scheduler(experiment(scheduler="hyperband", reduction_factor=2), SPACE)


def test_hyperband_still_waits_for_a_trial_that_was_lost_and_started_again(trials: list[Trial]) -> None:
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
    # The others are paused until it has come as far.
    assert [reported(scheduler, trial, 8) for trial in trials[1:]] == [TrialScheduler.PAUSE] * 2


def test_hyperband_does_not_wait_for_a_trial_that_failed_for_good(trials: list[Trial]) -> None:
    scheduler = hyperband()
    for trial in trials:
        scheduler.on_trial_add(controller(), trial)
        trial.set_status(Trial.RUNNING)
    scheduler.on_trial_error(controller(), trials[0])
    assert reported(scheduler, trials[1], 8) == TrialScheduler.PAUSE
    trials[1].set_status(Trial.PAUSED)
    # All that are left have come as far.
    assert reported(scheduler, trials[2], 8) == TrialScheduler.STOP


def test_hyperband_of_a_resumed_sweep_does_not_wait_for_a_trial_that_has_ended(trials: list[Trial]) -> None:
    scheduler = hyperband()
    ended, running = trials[0], trials[1]
    ended.set_status(Trial.TERMINATED)
    for trial in (ended, running):
        scheduler.on_trial_add(controller(), trial)
    running.set_status(Trial.RUNNING)
    assert reported(scheduler, running, 8) == TrialScheduler.STOP
