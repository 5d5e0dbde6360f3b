"""What stops bad trials early, or changes them as they run: Ray Tune's schedulers."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    HyperBandScheduler,
    MedianStoppingRule,
    TrialScheduler,
)

from fgcme.errors import UserError
from fgcme.experiment import Experiment, Parameter, Space, Value
from fgcme.seeds import derive_seed
from pipelines.sweep.internals import DonorPopulation, in_bracket
from pipelines.sweep.search import NUMBER
from pipelines.sweep.shared_study import random_study

# Settings that may change during a training: they decide neither shapes nor what earlier epochs have seen.
_MUTABLE = (
    "training.learning_rate",
    "training.weight_decay",
    "training.gradient_clip",
    "training.label_smoothing",
    "training.focal_gamma",
    "training.augmentation.",
)
# As in the paper on population-based training (Jaderberg et al., 2017).
_RESAMPLING_PROBABILITY = 0.25
_PERTURBATION = 0.2


def make_scheduler(experiment: Experiment, space: Space) -> TrialScheduler:
    """The scheduler that an experiment asks for; it decides by the objective alone.

    Args:
        experiment: its `tune` section says which, its `training` section how many epochs a trial has.
        space: what varies.

    Raises:
        UserError: population-based training would change a setting that cannot change during a training.
    """
    settings, epochs = experiment.tune, experiment.training.epochs
    grace = min(settings.grace_period, epochs)
    common: dict[str, Any] = {"time_attr": "epoch", "metric": "objective", "mode": "max"}
    kind = settings.scheduler or ("asha" if settings.cost == "none" else "none")
    if kind == "asha":
        return SuccessiveHalving(max_t=epochs, grace_period=grace, reduction_factor=settings.reduction_factor, **common)
    if kind == "hyperband":
        return RestartableHyperband(max_t=epochs, reduction_factor=settings.reduction_factor, **common)
    if kind == "median":
        return MedianRule(grace_period=grace, min_samples_required=settings.reduction_factor, **common)
    if kind == "pbt":
        _require_mutable(space)
        return SeededPopulation(space, settings.seed, perturbation_interval=grace, **common)
    return NoScheduler()  # type: ignore[no-untyped-call]


class _AmongLive(FIFOScheduler):
    """Looks for the next trial to start among those that have not ended; Ray Tune would go through all, each time."""

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The first trial that waits for its start, or else is paused."""
        live: set[Trial] = tune_controller.get_live_trials()
        for status in (Trial.PENDING, Trial.PAUSED):
            if waiting := [trial for trial in live if trial.status == status]:
                return min(waiting, key=lambda trial: int(trial.config.get(NUMBER, 0)))
        return None


class SuccessiveHalving(_AmongLive, ASHAScheduler):
    """Ray Tune's asynchronous successive halving (ASHA)."""


class MedianRule(_AmongLive, MedianStoppingRule):
    """Ray Tune's median stopping rule."""


class NoScheduler(_AmongLive):
    """Stops no trial."""


class RestartableHyperband(HyperBandScheduler):
    """Hyperband for trials that may be lost and started again, and for sweeps that may be resumed."""

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Place a trial in a bracket, unless it is in one or has ended: the bracket would wait for it for ever."""
        if not in_bracket(self, trial) and trial.status not in (Trial.TERMINATED, Trial.ERROR):
            super().on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Remove a trial that has failed for good from its bracket.

        Ray Tune calls this for a trial that it starts again as well, whose status is ERROR by then. That of a trial
        that failed for good is set later.
        """
        if trial.status != Trial.ERROR:
            super().on_trial_error(tune_controller, trial)


class SeededPopulation(DonorPopulation):
    """Population-based training that stays in its space, and makes all random choices from one seed.

    Args:
        space: what varies.
        seed: decides whom a bad member copies, and how the copy is varied.
        **settings: of Ray Tune's own class.
    """

    def __init__(self, space: Space, seed: int, **settings: Any) -> None:
        self._generator = random.Random(seed)
        super().__init__(custom_explore_fn=Exploration(space, derive_seed(seed, 1)), **settings)

    def choose_donor(self, candidates: list[Trial]) -> Trial:
        """One of the good members, at random."""
        return self._generator.choice(candidates)


class Exploration:
    """Varies a copied configuration within its space; an object, so that its generators are pickled with it.

    Args:
        space: what varies.
        seed: of all that is random here.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._generator = random.Random(seed)
        self._study = random_study(seed)

    def __call__(self, configuration: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration, varied."""
        fresh = self._space.draw(self._study.ask(), {})
        return explore(configuration, fresh, self._space, self._generator)


def explore(
    configuration: Mapping[str, Any], fresh: Mapping[str, Value], space: Space, generator: random.Random
) -> dict[str, Any]:
    """Vary a configuration within its space: some parameters are drawn anew, the others perturbed.

    Args:
        configuration: of a good member; what the space does not vary stays.
        fresh: a configuration drawn anew.
        space: what varies, without conditions.
        generator: decides which parameters are drawn anew, and which way the others move.
    """
    varied = dict(configuration)
    for name, parameter in space.parameters.items():
        resample, direction = generator.random() < _RESAMPLING_PROBABILITY, generator.choice((-1, 1))
        varied[name] = fresh[name] if resample else perturb(parameter, configuration[name], direction)
    return varied


def perturb(parameter: Parameter, value: Any, direction: int) -> Value:
    """A number a fifth lower or higher, by one step at least, within its range; of choices, the one before or after.

    Args:
        parameter: range or choices.
        value: of the parameter.
        direction: -1 for lower or before, 1 for higher or after.

    >>> perturb(Parameter.model_validate({"float": [0.0, 0.6], "step": 0.1}), 0.6, 1)
    0.6
    """
    if parameter.choice is not None:
        position = parameter.choice.index(value) + direction
        return parameter.choice[min(max(position, 0), len(parameter.choice) - 1)]
    low, high = parameter.integer or parameter.number or (0, 0)
    step = parameter.step or (1 if parameter.integer else 0)
    target = value + direction * max(_PERTURBATION * abs(value), step)
    if step:
        # Rounded, because steps add up to 0.30000000000000004 where 0.3 is meant.
        target = round(low + round((target - low) / step) * step, 12)
    target = min(max(target, low), high)
    return int(target) if parameter.integer else target


def _require_mutable(space: Space) -> None:
    for name, parameter in space.parameters.items():
        if not (name.startswith(_MUTABLE) or name.endswith(".dropout")) or parameter.when:
            raise UserError(
                f"tune.scheduler pbt: {name} cannot change during a training; use a space of learning rates, dropouts, "
                "augmentation and losses, without conditions (such as learning_rate)"
            )
