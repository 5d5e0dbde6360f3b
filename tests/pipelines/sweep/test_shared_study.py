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


def resumed_driver(storage: BaseStorage, folder: Path, sweep: str) -> Any:
    """The driver of a sweep that is resumed from what was saved in a folder, if anything was."""
    forgotten = shared_study.forgotten_trials(storage, "shared", sweep, internals.proposed_numbers(folder))
    experiment = small_corpus.experiment(tune=tuning("tpe"))
    driver = search.make_searcher(experiment, SPACE, FIRST, sweep, "shared", storage, forgotten=forgotten)
    for path in folder.glob(internals.SEARCHER):
        driver.restore(str(path))
    return driver


def test_trials_that_a_killed_driver_did_not_record_keep_their_numbers_and_settings(
    address: str, tmp_path: Path
) -> None:
    killed, other = driver(joined(address), sweep="killed"), driver(joined(address), sweep="other")
    propose(killed, "kept", ends=False)
    killed.save(str(tmp_path / "searcher-state-1.pkl"))
    ended, running = propose(killed, "ended"), propose(killed, "running", ends=False)
    elsewhere = propose(other, "elsewhere", ends=False)
    # The second time nothing was saved since, either.
    for _ in range(2):
        resumed = resumed_driver(joined(address), tmp_path, "killed")
        again = [propose(resumed, name) for name in ("again-1", "again-2", "again-3")]
        for before, after in zip((ended, running), again, strict=False):
            assert {**after, search.PROPOSED: 0.0} == {**before, search.PROPOSED: 0.0}
        assert again[2][search.NUMBER] == elsewhere[search.NUMBER] + 1
    states = [trial.state for trial in study_of(joined(address)).trials]
    assert states == [TrialState.RUNNING, *[TrialState.COMPLETE] * 2, TrialState.RUNNING, TrialState.COMPLETE]


def test_initial_trials_are_tried_once_though_nothing_was_saved_of_the_first(address: str, tmp_path: Path) -> None:
    propose(driver(joined(address), sweep="killed"), "lost", ends=False)
    resumed = resumed_driver(joined(address), tmp_path, "killed")
    drawn = [propose(resumed, str(n)) for n in range(3)]
    assert [each[search.NUMBER] for each in drawn] == [0, 1, 2]
    assert search.settings_of(drawn[0]) == FIRST[0] and drawn[1][RATE] == 0.002 != drawn[2][RATE]


@pytest.mark.parametrize("kind", ["tpe", "nsga2"])
def test_a_study_is_told_the_results_that_it_missed(address: str, kind: str) -> None:
    storage = joined(address, kind)
    one, other = driver(storage, kind, "one"), driver(joined(address, kind), kind, "other")
    for each, name in ((one, "missed"), (one, "running"), (other, "elsewhere")):
        propose(each, name, ends=False)
    values = [0.75] if kind == "tpe" else [0.75, 100.0]
    shared_study.tell_results(storage, "shared", "one", {0: values, 2: values}.get)
    trials = study_of(storage).trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.RUNNING, TrialState.RUNNING]
    assert trials[0].values == values


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
