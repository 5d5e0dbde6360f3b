"""Drivers that share a study: no trial twice, different draws, and no trial lost with a killed driver."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from ray.tune.search import Searcher

from fgcme.errors import UserError
from fgcme.experiment import Space
from pipelines.sweep import internals, search, shared_study
from tests import small_corpus

RATE = "training.learning_rate"
SPACE = Space.model_validate(
    {
        "parameters": {
            "model.pooling.kind": {"choice": ["mean", "lse"]},
            "model.pooling.temperature": {"float": [0.5, 1.5], "when": {"model.pooling.kind": ["lse"]}},
            RATE: {"float": [1e-4, 1e-2], "log": True},
        }
    }
)
FIRST: list[Any] = [{"model.pooling.kind": "mean", RATE: 0.001}, {RATE: 0.002}]
KINDS = ["tpe", "random", "cmaes", "nsga2"]


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/study.db"


def joined(address: str, kind: str = "tpe") -> BaseStorage:
    settings = small_corpus.experiment(tune=tuning(kind)).tune
    return shared_study.open_study(address, "shared", "identity", search.directions(settings))


def tuning(kind: str) -> dict[str, object]:
    # NSGA-II draws the first fifth of its trials, and crosses them afterwards.
    return {"search": kind, "cost": "parameters" if kind == "nsga2" else "none", "trials": 60}


def driver(storage: BaseStorage | None, kind: str = "tpe", sweep: str = "one") -> Searcher:
    return search.make_searcher(small_corpus.experiment(tune=tuning(kind)), SPACE, FIRST, sweep, "shared", storage)


def propose(driver: Searcher, name: str, ends: bool = True) -> dict[str, Any]:
    """What a driver proposes next; `ends` says whether the trial ends."""
    configuration = driver.suggest(name)
    assert configuration is not None
    if ends:
        score = 1 - abs(configuration[RATE] - 0.001)
        driver.on_trial_complete(name, {"objective": score, "cost": 1.0, "training_iteration": 1})
    return configuration


def study_of(storage: BaseStorage) -> optuna.Study:
    return optuna.load_study(study_name="shared", storage=storage)


def test_drivers_share_a_study_only_of_the_same_space_corpus_and_experiment(address: str) -> None:
    shared_study.open_study(address, "shared", "one", ["maximize"])
    shared_study.open_study(address, "shared", "one", ["maximize"])
    with pytest.raises(UserError, match="of another space, corpus or experiment"):
        shared_study.open_study(address, "shared", "another", ["maximize"])
    assert optuna.load_study(study_name="shared", storage=address).user_attrs["fgcme.identity"] == "one"


@pytest.mark.parametrize("kind", KINDS)
def test_a_driver_alone_draws_the_same_from_a_database_as_from_memory(address: str, kind: str) -> None:
    with_one, without = driver(joined(address, kind), kind), driver(None, kind)
    drawn = [[search.settings_of(propose(each, str(n))) for n in range(18)] for each in (with_one, without)]
    assert drawn[0] == drawn[1]
    assert drawn[0][0] == FIRST[0] and drawn[0][1][RATE] == 0.002


@pytest.mark.parametrize("kind", KINDS)
def test_drivers_that_start_together_try_the_initial_trials_once_and_draw_differently(address: str, kind: str) -> None:
    storage = joined(address, kind)
    # Both join before either proposes a trial.
    one, two = driver(storage, kind, "one"), driver(joined(address, kind), kind, "two")
    drawn = [propose(each, f"{name}-{n}") for n in range(6) for name, each in (("one", one), ("two", two))]
    assert [each[search.NUMBER] for each in drawn] == list(range(12))
    rates = [each[RATE] for each in drawn]
    assert len(set(rates)) == 12 and {0.001, 0.002} <= set(rates)


def test_a_driver_that_joins_later_draws_differently_from_those_before(address: str) -> None:
    rates = []
    for sweep in ("one", "two", "three"):
        joining = driver(joined(address), sweep=sweep)
        rates += [propose(joining, f"{sweep}-{n}")[RATE] for n in range(6)]
    assert len(set(rates)) == 18


def test_a_restored_search_draws_what_an_uninterrupted_one_draws(address: str, tmp_path: Path) -> None:
    undisturbed = driver(None)
    expected = [search.settings_of(propose(undisturbed, str(n))) for n in range(12)]
    killed = driver(joined(address))
    for n in range(5):
        propose(killed, str(n))
    killed.save(str(tmp_path / "state"))
    resumed = driver(joined(address))
    resumed.restore(str(tmp_path / "state"))
    assert [search.settings_of(propose(resumed, str(n))) for n in range(5, 12)] == expected[5:]


def test_a_trial_that_a_killed_driver_did_not_record_is_proposed_again(address: str, tmp_path: Path) -> None:
    storage = joined(address)
    killed, other = driver(storage, sweep="killed"), driver(joined(address), sweep="other")
    kept = propose(killed, "kept", ends=False)
    killed.save(str(tmp_path / "searcher-state-1.pkl"))
    lost = propose(killed, "lost", ends=False)
    elsewhere = propose(other, "elsewhere", ends=False)
    assert internals.proposed_numbers(tmp_path) == {kept[search.NUMBER]}
    assert shared_study.requeue_orphans(storage, "shared", "killed", internals.proposed_numbers(tmp_path)) == [
        lost[search.NUMBER]
    ]
    states = {trial.number: trial.state for trial in study_of(storage).trials}
    assert states[lost[search.NUMBER]] is TrialState.FAIL
    assert states[kept[search.NUMBER]] is states[elsewhere[search.NUMBER]] is TrialState.RUNNING
    resumed = driver(joined(address), sweep="killed")
    resumed.restore(str(tmp_path / "searcher-state-1.pkl"))
    again = propose(resumed, "again")
    assert search.settings_of(again) == search.settings_of(lost)
    assert again[search.NUMBER] not in (kept[search.NUMBER], lost[search.NUMBER], elsewhere[search.NUMBER])


def test_a_trial_whose_end_the_database_knows_may_be_reported_again(address: str, tmp_path: Path) -> None:
    killed = driver(joined(address))
    propose(killed, "one", ends=False)
    killed.save(str(tmp_path / "state"))
    killed.on_trial_complete("one", {"objective": 0.9, "training_iteration": 3})
    resumed = driver(joined(address))
    resumed.restore(str(tmp_path / "state"))
    resumed.on_trial_result("one", {"objective": 0.9, "training_iteration": 3})
    resumed.on_trial_complete("one", {"objective": 0.9, "training_iteration": 3})
    trial = study_of(joined(address)).trials[0]
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.9)
