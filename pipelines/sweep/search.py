"""What proposes the configurations of a sweep: Optuna, one after another, or a population, all at once."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, NSGAIISampler, RandomSampler
from optuna.storages import BaseStorage
from ray.tune.search import Searcher
from ray.tune.search.basic_variant import BasicVariantGenerator
from ray.tune.search.optuna import OptunaSearch

from fgcme.experiment import Experiment, Space, TuneSettings, Value
from pipelines.sweep.internals import REPEATED_REPORT, propose_again
from pipelines.sweep.samplers import BoundedTPESampler, ReplayingSampler
from pipelines.sweep.shared_study import SWEEP, Direction, SharedStudySampler, random_study

NUMBER = "number"
"""Key of a trial's configuration: its number in the study."""
PROPOSED = "proposed"
"""Key of a trial's configuration: when it was proposed, in seconds since 1970."""


def settings_of(configuration: Mapping[str, Any]) -> dict[str, Value]:
    """The dotted settings of a trial's configuration.

    >>> settings_of({"number": 3, "proposed": 0.5, "training.learning_rate": 0.001})
    {'training.learning_rate': 0.001}
    """
    return {name: value for name, value in configuration.items() if "." in name}


def draw_configuration(trial: Any, space: Space, settings: Mapping[str, Any], sweep: str) -> dict[str, Any]:
    """Draw one configuration.

    A function of a module, because Ray Tune pickles it.

    Args:
        trial: Optuna's.
        space: what varies.
        settings: dotted settings of the experiment, on which a parameter's conditions may depend.
        sweep: id of the sweep, which the trial carries in the study.
    """
    if trial.user_attrs.get(SWEEP) != sweep:
        trial.set_user_attr(SWEEP, sweep)
    number = trial.number
    return {**space.draw(trial, settings), NUMBER: number, PROPOSED: time.time()}


def make_searcher(
    experiment: Experiment,
    space: Space,
    initial_trials: list[dict[str, Value]],
    sweep: str,
    study_name: str,
    storage: BaseStorage | None = None,
    proposed: Mapping[int, Mapping[str, Any]] | None = None,
    forgotten: Sequence[int] = (),
) -> Searcher:
    """What proposes the configurations of a sweep, one after another.

    Args:
        experiment: its `tune` section says how.
        space: what varies.
        initial_trials: configurations to try before any is drawn.
        sweep: id of the sweep, which its trials carry in the study.
        study_name: name of Optuna's study.
        storage: of a study that drivers share; None keeps the study in memory.
        proposed: settings of trials of this sweep that only their folders know of, by number; for a study in memory.
        forgotten: numbers of trials of this sweep that only the study knows of; for a study that drivers share.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # A resumed trial reports its last epoch again.
    warnings.filterwarnings("ignore", message=REPEATED_REPORT)
    settings = experiment.tune
    make_sampler = functools.partial(_make_sampler, settings)
    measured = metrics(settings)
    searcher = _TolerantSearch(
        functools.partial(draw_configuration, space=space, settings=experiment.flat(), sweep=sweep),
        metric=measured[0] if len(measured) == 1 else measured,
        mode="max" if len(measured) == 1 else ["max", "min"],
        points_to_evaluate=initial_trials if initial_trials and storage is None else None,
        sampler=ReplayingSampler(make_sampler(settings.seed), proposed or {})
        if storage is None
        else SharedStudySampler(make_sampler, settings.seed, initial_trials),
        storage=storage,
        study_name=study_name,
    )
    searcher.forgotten = list(forgotten)
    return searcher


class _TolerantSearch(OptunaSearch):
    """Ray Tune's search for a study that may know of trials, and of their ends, what a killed driver has forgotten.

    Attributes:
        forgotten: numbers of trials that were proposed after the last snapshot, and are proposed again first.
    """

    forgotten: list[int]

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Propose a trial that was forgotten, with its number and its settings, or else a new one."""
        if self.forgotten:
            propose_again(self, trial_id, self.forgotten.pop(0))
        suggested: dict[str, Any] | None = super().suggest(trial_id)
        return suggested

    def restore(self, checkpoint_path: str) -> None:
        """Restore what the search knew, but for the trials that were proposed since."""
        proposed, forgotten = getattr(self._sampler, "proposed", None), self.forgotten
        super().restore(checkpoint_path)
        self.forgotten = forgotten
        if isinstance(self._sampler, ReplayingSampler):
            self._sampler.proposed = proposed or {}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Report an epoch to the study, unless the study knows that the trial has ended."""
        with suppress(optuna.exceptions.UpdateFinishedTrialError):
            super().on_trial_result(trial_id, result)


def make_population(
    experiment: Experiment, space: Space, initial_trials: list[dict[str, Value]]
) -> BasicVariantGenerator:
    """Make the searcher that proposes all members of a population at once.

    Args:
        experiment: its `tune` section says how many.
        space: what varies, without conditions.
        initial_trials: the first members; the others are drawn.
    """
    study = random_study(experiment.tune.seed)
    for point in initial_trials:
        study.enqueue_trial(point)
    drawn = [space.draw(study.ask(), experiment.flat()) for _ in range(experiment.tune.trials)]
    return BasicVariantGenerator([{**settings, NUMBER: number} for number, settings in enumerate(drawn)])


def metrics(settings: TuneSettings) -> list[str]:
    """What a trial reports that its study optimises: the objective, and the cost if there is one."""
    return ["objective"] if settings.cost == "none" else ["objective", "cost"]


def directions(settings: TuneSettings) -> list[Direction]:
    """Optuna's directions of the objective, and of the cost if there is one."""
    return ["maximize"] if settings.cost == "none" else ["maximize", "minimize"]


def _make_sampler(settings: TuneSettings, seed: int) -> BaseSampler:
    # Experimental parts may change with Optuna's version, which is pinned.
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    if settings.search == "tpe":
        # Running trials count as bad ones (constant liar), so that trials at once differ.
        return BoundedTPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)
    if settings.search == "cmaes":
        # CMA-ES only knows numbers without conditions; Optuna draws other parameters at random.
        return CmaEsSampler(seed=seed, warn_independent_sampling=False)
    if settings.search == "nsga2":
        # A fifth of the trials a generation leaves five generations to get better.
        return NSGAIISampler(population_size=min(50, max(4, settings.trials // 5)), seed=seed)
    return RandomSampler(seed=seed)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other one beats in both objective and cost, the cheapest first.

    Args:
        points: (objective, cost) of each trial. Of equal ones the first is returned.

    >>> pareto_front([(0.5, 10.0), (0.7, 30.0), (0.6, 40.0), (0.7, 30.0)])
    [0, 1]
    """
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda index: (points[index][1], -points[index][0])):
        if not front or points[index][0] > points[front[-1]][0]:
            front.append(index)
    return front
