"""What proposes the configurations of a sweep: Optuna, one after another; a population, all at once."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.storages import BaseStorage
from ray.tune.search import Searcher
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch

from fgcme.experiment import Experiment, Space, TuneSettings, Value
from pipelines.sweep.shared_study import SWEEP, Direction, SharedStudySampler, random_study

# What a trial's configuration holds besides dotted settings: its number in the study, and when it was proposed.
NUMBER = "number"
PROPOSED = "proposed"


def settings_of(configuration: Mapping[str, Any]) -> dict[str, Value]:
    """The dotted settings of a trial's configuration.

    >>> settings_of({"number": 3, "proposed": 0.5, "training.learning_rate": 0.001})
    {'training.learning_rate': 0.001}
    """
    return {name: value for name, value in configuration.items() if "." in name}


def draw(trial: Any, space: Space, settings: Mapping[str, Any], sweep: str) -> dict[str, Any]:
    """One configuration, for Optuna; a function of a module, because Ray Tune pickles it."""
    trial.set_user_attr(SWEEP, sweep)
    number = trial.number
    return {**space.draw(trial, settings), NUMBER: number, PROPOSED: time.time()}


def searcher(
    experiment: Experiment,
    space: Space,
    first: list[dict[str, Value]],
    sweep: str,
    study: str,
    storage: BaseStorage | None = None,
) -> Searcher:
    """What proposes the configurations of a sweep, one after another.

    Args:
        experiment: whose `tune` section says how.
        space: what varies.
        first: what is tried before anything is drawn.
        sweep: the sweep's id, which its trials carry in the study.
        study: name of Optuna's study.
        storage: that drivers share, with the study in it; None keeps it in memory.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # A trial that goes on reports its last epoch again.
    warnings.filterwarnings("ignore", message="The reported value is ignored")
    settings = experiment.tune
    own = functools.partial(_sampler, settings)
    metrics = ["objective"] if settings.cost == "none" else ["objective", "cost"]
    return _Search(
        functools.partial(draw, space=space, settings=experiment.flat(), sweep=sweep),
        metric=metrics[0] if len(metrics) == 1 else metrics,
        mode="max" if len(metrics) == 1 else ["max", "min"],
        points_to_evaluate=first if first and storage is None else None,
        sampler=own(settings.seed) if storage is None else SharedStudySampler(own, settings.seed, first),
        storage=storage,
        study_name=study,
    )


class _Search(OptunaSearch):
    """Ray Tune's, for studies that are ahead of it: their database may know of an end that a killed driver forgot."""

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Tell the study how a trial does, unless it knows how that ended."""
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            super().on_trial_result(trial_id, result)


def population(experiment: Experiment, space: Space, first: list[dict[str, Value]]) -> BasicVariantGenerator:
    """The members of a population, all proposed at once: what is tried first, and the rest drawn.

    Args:
        experiment: whose `tune` section says how many.
        space: what varies, without conditions.
        first: what is tried before anything is drawn.
    """
    study = random_study(experiment.tune.seed)
    for point in first:
        study.enqueue_trial(point)
    drawn = [space.draw(study.ask(), experiment.flat()) for _ in range(experiment.tune.trials)]
    return BasicVariantGenerator([{**settings, NUMBER: number} for number, settings in enumerate(drawn)])


def directions(settings: TuneSettings) -> list[Direction]:
    """Optuna's names for what is to be had of the objective, and of the cost if there is one."""
    return ["maximize"] if settings.cost == "none" else ["maximize", "minimize"]


def _sampler(settings: TuneSettings, seed: int) -> BaseSampler:
    # What Optuna calls experimental may change between its versions; ours is pinned.
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    if settings.search == "tpe":
        # Parameters are drawn together, those of one condition as a group; what runs counts as bad until it has ended,
        # lest two trials at once try the same.
        return TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)
    if settings.search == "cmaes":
        # Choices and conditional parameters are drawn at random: the method knows only numbers that are always there.
        return CmaEsSampler(seed=seed, warn_independent_sampling=False)
    if settings.search == "nsga2":
        # A generation of a fifth of the trials: enough of them for the search to get anywhere.
        return NSGAIISampler(population_size=min(50, max(4, settings.trials // 5)), seed=seed)
    return RandomSampler(seed=seed)


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Which (objective, cost) no other one beats in both, the cheapest first; of equals the first.

    >>> front([(0.5, 10.0), (0.7, 30.0), (0.6, 40.0), (0.7, 30.0)])
    [0, 1]
    """
    chosen: list[int] = []
    for index in sorted(range(len(points)), key=lambda index: (points[index][1], -points[index][0])):
        if not chosen or points[index][0] > points[chosen[-1]][0]:
            chosen.append(index)
    return chosen
