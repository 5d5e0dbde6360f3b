"""Sweeps of any length, and sweeps that repeat what a killed driver had proposed: what their samplers draw."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import optuna
import pytest
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from pipelines.sweep import samplers
from pipelines.sweep.samplers import BoundedTPESampler, ReplayingSampler, TrialWindow

SETTINGS: dict[str, Any] = {"multivariate": True, "group": True, "constant_liar": True, "seed": 0}


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)


def draw(trial: optuna.Trial) -> dict[str, Any]:
    kind = trial.suggest_categorical("kind", ["plain", "soft"])
    drawn = {"kind": kind, "rate": trial.suggest_float("rate", 0.0, 1.0)}
    return drawn | ({"temperature": trial.suggest_float("temperature", 0.0, 1.0)} if kind == "soft" else {})


def proposed(sampler: BaseSampler, trials: int = 30) -> list[dict[str, Any]]:
    """What a sampler proposes one after the other, where a rate of 0.3 is the best."""
    study, drawn = optuna.create_study(direction="maximize", sampler=sampler), []
    for _ in range(trials):
        trial = study.ask()
        drawn.append(draw(trial))
        study.tell(trial, 1 - abs(drawn[-1]["rate"] - 0.3))
    return drawn


def test_up_to_its_window_bounded_tpe_proposes_what_tpe_proposes() -> None:
    assert proposed(BoundedTPESampler(**SETTINGS)) == proposed(TPESampler(**SETTINGS))


def long_study(values: Mapping[int, float], trials: int, sampler: BaseSampler | None = None) -> optuna.Study:
    """A study whose trials have a value of 0 each, and a rate as far apart as possible, but for some good ones."""
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distribution = {"rate": optuna.distributions.FloatDistribution(0.0, 1.0)}
    for number in range(trials):
        good = number in values
        study.add_trial(
            optuna.trial.create_trial(
                value=values.get(number, 0.0),
                params={"rate": 0.1 + number / 1000 if good else number / trials},
                distributions=distribution,
            )
        )
    return study


def test_tpe_learns_from_the_latest_trials_those_that_run_and_the_best_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "WINDOW", 40)
    study = long_study({3: 0.9, 7: 0.8}, trials=300)
    study.ask()
    for number in range(50):
        study.add_trial(optuna.trial.create_trial(value=number / 1000, params={}, distributions={}))
    window = TrialWindow()
    seen = [trial.number for trial in window.trials_of(study)]
    assert seen == sorted(seen) and len(seen) <= 40 + 25 + 1
    assert {3, 7, 300, *range(311, 351)} <= set(seen)
    assert [trial.number for trial in window.trials_of(study) if trial.state == TrialState.RUNNING] == [300]
    # What ends after it has left the window may be the best of all.
    study.tell(300, 0.95)
    assert {3, 7, 300} <= {trial.number for trial in window.trials_of(study)}
    again = [trial.number for trial in TrialWindow().trials_of(study)]
    assert again == [trial.number for trial in window.trials_of(study)]


def test_good_trials_of_long_ago_still_decide_where_tpe_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "WINDOW", 100)
    sampler = BoundedTPESampler(**SETTINGS)
    study = long_study(dict.fromkeys(range(25), 0.9), trials=400, sampler=sampler)
    rates = [study.ask().suggest_float("rate", 0.0, 1.0) for _ in range(20)]
    assert sum(rate < 0.2 for rate in rates) > 12


def test_with_two_objectives_tpe_keeps_the_best_in_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samplers, "WINDOW", 40)
    study = optuna.create_study(directions=["maximize", "minimize"])
    for number in range(200):
        values = {0: [0.9, 50.0], 1: [0.1, 1.0]}.get(number, [0.5, 30.0])
        study.add_trial(optuna.trial.create_trial(values=values, params={}, distributions={}))
    assert {0, 1, *range(160, 200)} <= {trial.number for trial in TrialWindow().trials_of(study)}


@pytest.mark.parametrize("sampler", [RandomSampler, BoundedTPESampler])
def test_what_was_proposed_before_is_repeated_and_nothing_else_changes(sampler: type[BaseSampler]) -> None:
    settings = {"seed": 0} if sampler is RandomSampler else SETTINGS
    undisturbed = proposed(sampler(**settings))
    # As a driver that is killed one at a time leaves it: the same would be drawn again.
    assert proposed(ReplayingSampler(sampler(**settings), dict(enumerate(undisturbed)))) == undisturbed
    other = {"kind": "soft", "rate": 0.123, "temperature": 0.5}
    replayed = proposed(ReplayingSampler(sampler(**settings), {12: other}))
    assert replayed[12] == other and replayed[:12] == undisturbed[:12]
    if sampler is RandomSampler and undisturbed[12].keys() == other.keys():
        assert replayed[13:] == undisturbed[13:]
