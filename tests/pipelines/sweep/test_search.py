"""The search that an experiment asks for, and what it proposes."""

from __future__ import annotations

from typing import Any

import pytest
from ray import tune

from fgcme.experiment import Experiment, Space
from pipelines.sweep import search
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
RATE = "training.learning_rate"
RATES = Space.model_validate(
    {
        "parameters": {
            "training.learning_rate": {"float": [1e-4, 1e-2], "log": True},
            "model.fusion.dropout": {"float": [0.0, 0.5], "step": 0.25},
        }
    }
)


def experiment(**settings: Any) -> Experiment:
    return small_corpus.experiment(tune={"grace_period": 2, **settings}, training={"epochs": 8})


def proposed(kind: str, trials: int = 12) -> list[dict[str, Any]]:
    """What a search proposes where the objective is better the nearer the rate is to 0.001."""
    settings = experiment(search=kind, trials=trials)
    searcher = search.make_searcher(settings, SPACE, [{"training.learning_rate": 0.01}], "sweep", "study")
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


def test_a_conditional_parameter_is_proposed_only_where_its_condition_holds() -> None:
    for each in proposed("random"):
        assert ("model.pooling.temperature" in each) == (each["model.pooling.kind"] == "lse")


def members(**settings: Any) -> list[dict[str, Any]]:
    proposer = search.make_population(experiment(scheduler="pbt", search="random", **settings), RATES, [{RATE: 0.002}])
    tune.register_trainable("nothing", lambda configuration: None)
    proposer.add_configurations(
        {"rates": {"run": "nothing", "config": dict.fromkeys((*RATES.parameters, search.NUMBER))}}
    )
    return [trial.config for trial in iter(proposer.next_trial, None)]


def test_a_population_is_drawn_from_its_space_by_its_seed() -> None:
    drawn = members(trials=50)
    assert [each[search.NUMBER] for each in drawn] == list(range(50))
    assert all(1e-4 <= each[RATE] <= 1e-2 for each in drawn)
    # As many below the middle of a logarithmic range as above.
    assert 15 < sum(each[RATE] < 1e-3 for each in drawn) < 35
    assert {each["model.fusion.dropout"] for each in drawn} == {0.0, 0.25, 0.5}
    assert drawn[0][RATE] == 0.002
    assert members(trials=50) == drawn and members(trials=50, seed=1) != drawn


def test_no_point_of_the_front_is_beaten_in_both_objective_and_cost() -> None:
    points = [(0.9, 100.0), (0.5, 10.0), (0.5, 5.0), (0.95, 100.0), (0.4, 50.0)]
    assert search.pareto_front(points) == [2, 3]
    assert search.pareto_front([]) == []
