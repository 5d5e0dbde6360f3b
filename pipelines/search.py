"""How a sweep searches: what proposes configurations (Optuna), what stops bad trials early (Ray Tune's schedulers)."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, NSGAIISampler, RandomSampler, TPESampler
from ray import tune
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    PopulationBasedTraining,
    TrialScheduler,
)
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from fgcme.errors import UserError
from fgcme.experiment import Experiment, TuneSettings
from fgcme.space import Parameter, Space, Value

# What a trial's configuration holds besides dotted settings: its number in the study, and when it was proposed.
NUMBER = "number"
PROPOSED = "proposed"

# Settings that may change in the middle of a training: they decide neither shapes nor what the epochs so far have seen.
_MUTABLE = (
    "training.learning_rate",
    "training.weight_decay",
    "training.gradient_clip",
    "training.label_smoothing",
    "training.focus",
    "training.augmentation.",
)


def settings_of(configuration: Mapping[str, Any]) -> dict[str, Value]:
    """The dotted settings of a trial's configuration.

    >>> settings_of({"number": 3, "proposed": 0.5, "training.learning_rate": 0.001})
    {'training.learning_rate': 0.001}
    """
    return {name: value for name, value in configuration.items() if "." in name}


def draw(trial: Any, space: Space, settings: Mapping[str, Any]) -> dict[str, Any]:
    """One configuration, for Optuna; a function of a module, because Ray Tune pickles it."""
    number = trial.number
    return {**space.draw(trial, settings), NUMBER: number, PROPOSED: time.time()}


def searcher(
    experiment: Experiment, space: Space, first: list[dict[str, Value]], study: str, identity: str
) -> Searcher:
    """What proposes the configurations of a sweep.

    Args:
        experiment: whose `tune` section says how.
        space: what varies.
        first: what is tried before anything is drawn.
        study: its name in the database that drivers share, if there is one.
        identity: of all that decides a trial's result; drivers share a study only if they agree on it.

    Raises:
        UserError: the database cannot be used, or its study is of something else.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # A trial that goes on reports its last epoch again.
    warnings.filterwarnings("ignore", message="The reported value is ignored")
    settings = experiment.tune
    storage = None
    if experiment.storage.study is not None:
        storage, begun = _database(experiment.storage.study, study, identity, directions(settings))
        # The driver that came first has asked for them.
        first = [] if begun else first
    metrics = ["objective"] if settings.cost == "none" else ["objective", "cost"]
    return OptunaSearch(
        functools.partial(draw, space=space, settings=experiment.flat()),
        metric=metrics[0] if len(metrics) == 1 else metrics,
        mode="max" if len(metrics) == 1 else ["max", "min"],
        points_to_evaluate=first or None,
        sampler=_sampler(settings),
        storage=storage,
        study_name=study,
    )


def directions(settings: TuneSettings) -> list[Literal["minimize", "maximize"]]:
    """Optuna's names for what is to be had of the objective, and of the cost if there is one."""
    return ["maximize"] if settings.cost == "none" else ["maximize", "minimize"]


def _sampler(settings: TuneSettings) -> BaseSampler:
    # What Optuna calls experimental may change between its versions; ours is pinned.
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    if settings.search == "tpe":
        # Parameters are drawn together, those of one condition as a group; what runs counts as bad until it has ended,
        # lest two trials at once try the same.
        return TPESampler(multivariate=True, group=True, constant_liar=True, seed=settings.seed)
    if settings.search == "cmaes":
        # Choices and conditional parameters are drawn at random: the method knows only numbers that are always there.
        return CmaEsSampler(seed=settings.seed, warn_independent_sampling=False)
    if settings.search == "nsga2":
        # A generation of a fifth of the trials: enough of them for the search to get anywhere.
        return NSGAIISampler(population_size=min(50, max(4, settings.trials // 5)), seed=settings.seed)
    return RandomSampler(seed=settings.seed)


def _database(
    address: str, study: str, identity: str, directions: list[Literal["minimize", "maximize"]]
) -> tuple[optuna.storages.BaseStorage, bool]:
    """Optuna's storage, and whether the study has trials already."""
    try:
        storage = optuna.storages.RDBStorage(address)
        made = optuna.create_study(storage=storage, study_name=study, directions=directions, load_if_exists=True)
        known = made.user_attrs.get("fgcme.identity")
        if known is None:
            made.set_user_attr("fgcme.identity", identity)
        elif known != identity:
            raise UserError(
                f"storage.study: {address} has a study {study} of another space, corpus or experiment; "
                "name another database, or another experiment (`name:`)"
            )
        return storage, bool(made.get_trials(deepcopy=False))
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001  SQLAlchemy and each database's driver have errors of their own
        raise UserError(f"storage.study: {address} cannot be used ({str(error).partition(chr(10))[0]})") from None


def scheduler(experiment: Experiment, space: Space) -> TrialScheduler:
    """What stops bad trials, by the objective alone.

    Raises:
        UserError: population-based training is to change a setting that cannot change during a training.
    """
    settings, epochs = experiment.tune, experiment.training.epochs
    grace = min(settings.grace_epochs, epochs)
    common: dict[str, Any] = {"time_attr": "epoch", "metric": "objective", "mode": "max"}
    kind = settings.scheduler or ("asha" if settings.cost == "none" else "none")
    if kind == "asha":
        return ASHAScheduler(max_t=epochs, grace_period=grace, reduction_factor=settings.reduction, **common)
    if kind == "hyperband":
        return HyperBandScheduler(max_t=epochs, reduction_factor=settings.reduction, **common)
    if kind == "median":
        return MedianStoppingRule(grace_period=grace, min_samples_required=settings.reduction, **common)
    if kind == "pbt":
        return PopulationBasedTraining(
            perturbation_interval=grace,
            hyperparam_mutations={name: domain(parameter) for name, parameter in mutable(space).items()},
            **common,
        )
    return FIFOScheduler()  # type: ignore[no-untyped-call]


def mutable(space: Space) -> dict[str, Parameter]:
    """The parameters of a space for population-based training.

    Raises:
        UserError: one of them cannot change during a training, or has a condition.
    """
    for name, parameter in space.parameters.items():
        if not (name.startswith(_MUTABLE) or name.endswith(".dropout")) or parameter.when:
            raise UserError(
                f"tune.scheduler pbt: {name} cannot change in the middle of a training; give it a space of dropouts, "
                "rates, augmentation and losses, such as learning_rate, without conditions"
            )
    return dict(space.parameters)


def domain(parameter: Parameter) -> Any:
    """A parameter as Ray Tune draws it."""
    if parameter.choice is not None:
        return tune.choice(parameter.choice)
    if parameter.integer is not None:
        low, high = parameter.integer
        return tune.lograndint(low, high + 1) if parameter.log else tune.qrandint(low, high, int(parameter.step or 1))
    assert parameter.number is not None
    low_number, high_number = parameter.number
    if parameter.log:
        return tune.loguniform(low_number, high_number)
    return (
        tune.quniform(low_number, high_number, parameter.step)
        if parameter.step
        else tune.uniform(low_number, high_number)
    )


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
