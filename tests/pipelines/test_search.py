"""What proposes configurations and what stops trials, as the experiment asks for it."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
)

from fgcme.errors import UserError
from fgcme.experiment import Experiment
from fgcme.space import Space
from pipelines import search
from tests import small_corpus

SPACE = Space.model_validate(
    {
        "parameters": {
            "model.pooling.kind": {"choice": ["mean", "lse"]},
            "model.pooling.temperature": {"float": [0.5, 1.5], "when": {"model.pooling.kind": ["lse"]}},
            "training.learning_rate": {"float": [1e-4, 1e-2], "log": True},
        }
    }
)
RATES = Space.model_validate(
    {
        "parameters": {
            "training.learning_rate": {"float": [1e-4, 1e-2], "log": True},
            "model.fusion.dropout": {"float": [0.0, 0.5], "step": 0.25},
        }
    }
)


def experiment(**settings: Any) -> Experiment:
    return small_corpus.experiment(tune={"grace_epochs": 2, **settings}, training={"epochs": 8})


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, ASHAScheduler),
        ({"scheduler": "hyperband"}, HyperBandScheduler),
        ({"scheduler": "median"}, MedianStoppingRule),
        ({"scheduler": "none"}, FIFOScheduler),
        # A trial that is stopped early has no cost and no objective to compare with those of others.
        ({"search": "nsga2", "cost": "parameters"}, FIFOScheduler),
    ],
)
def test_the_scheduler_is_the_one_that_was_asked_for(settings: dict[str, Any], kind: type) -> None:
    assert type(search.scheduler(experiment(**settings), SPACE)) is kind


def test_population_based_training_takes_only_what_may_change_in_the_middle_of_a_training() -> None:
    settings = experiment(scheduler="pbt", search="random")
    with pytest.raises(UserError, match=r"model\.pooling\.kind cannot change in the middle of a training"):
        search.scheduler(settings, SPACE)
    assert type(search.scheduler(settings, RATES)) is PopulationBasedTraining


def test_a_domain_draws_what_the_parameter_allows() -> None:
    rate, dropout = (search.domain(parameter) for parameter in RATES.parameters.values())
    assert all(1e-4 <= rate.sample() <= 1e-2 for _ in range(50))
    assert {dropout.sample() for _ in range(50)} <= {0.0, 0.25, 0.5}


def proposed(kind: str, trials: int = 12) -> list[dict[str, Any]]:
    """What a search proposes where the objective is better the nearer the rate is to 0.001."""
    settings = experiment(search=kind, trials=trials)
    searcher = search.searcher(settings, SPACE, [{"training.learning_rate": 0.01}], "study", "identity")
    drawn = []
    for number in range(trials):
        configuration = searcher.suggest(str(number))
        assert configuration is not None
        drawn.append(configuration)
        score = 1 - abs(configuration["training.learning_rate"] - 0.001)
        searcher.on_trial_complete(str(number), {"objective": score, "training_iteration": 1})
    return drawn


@pytest.mark.parametrize("kind", ["tpe", "random", "cmaes"])
def test_a_search_with_the_same_seed_proposes_the_same_and_numbers_it(kind: str) -> None:
    first, again = proposed(kind), proposed(kind)
    assert [search.settings_of(each) for each in first] == [search.settings_of(each) for each in again]
    assert [each[search.NUMBER] for each in first] == list(range(12))
    assert first[0]["training.learning_rate"] == 0.01


def test_a_temperature_is_proposed_only_where_something_reads_it() -> None:
    for each in proposed("random"):
        assert ("model.pooling.temperature" in each) == (each["model.pooling.kind"] == "lse")


def test_drivers_share_a_study_only_of_the_same_things(tmp_path: Any) -> None:
    address = f"sqlite:///{tmp_path}/study.db"
    settings = experiment().model_copy(update={"storage": experiment().storage.model_copy(update={"study": address})})
    search.searcher(settings, SPACE, [{"training.learning_rate": 0.01}], "study", "one")
    search.searcher(settings, SPACE, [], "study", "one")
    with pytest.raises(UserError, match="of another space, corpus or experiment"):
        search.searcher(settings, SPACE, [], "study", "another")
    assert optuna.load_study(study_name="study", storage=address).user_attrs["fgcme.identity"] == "one"


def test_the_front_holds_what_nothing_beats_in_both() -> None:
    points = [(0.9, 100.0), (0.5, 10.0), (0.5, 5.0), (0.95, 100.0), (0.4, 50.0)]
    assert search.front(points) == [2, 3]
    assert search.front([]) == []
