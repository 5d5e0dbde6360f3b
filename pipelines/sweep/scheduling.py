"""What becomes of a sweep's trials as they run: Ray Tune's schedulers stop the bad ones, or change them."""

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
    PopulationBasedTraining,
    TrialScheduler,
)

from fgcme.errors import UserError
from fgcme.experiment import Experiment, Parameter, Space, Value
from fgcme.seeds import derive_seed
from pipelines.sweep.shared_study import random_study

# Settings that may change in the middle of a training: they decide neither shapes nor what the epochs so far have seen.
_MUTABLE = (
    "training.learning_rate",
    "training.weight_decay",
    "training.gradient_clip",
    "training.label_smoothing",
    "training.focal_gamma",
    "training.augmentation.",
)
# How often a copied setting is drawn anew, and by which part of itself it is changed otherwise: as in the paper.
_REDRAWN = 0.25
_CHANGE = 0.2


def scheduler(experiment: Experiment, space: Space) -> TrialScheduler:
    """What stops bad trials, by the objective alone.

    Raises:
        UserError: population-based training is to change a setting that cannot change during a training.
    """
    settings, epochs = experiment.tune, experiment.training.epochs
    grace = min(settings.grace_period, epochs)
    common: dict[str, Any] = {"time_attr": "epoch", "metric": "objective", "mode": "max"}
    kind = settings.scheduler or ("asha" if settings.cost == "none" else "none")
    if kind == "asha":
        return ASHAScheduler(max_t=epochs, grace_period=grace, reduction_factor=settings.reduction_factor, **common)
    if kind == "hyperband":
        return Hyperband(max_t=epochs, reduction_factor=settings.reduction_factor, **common)
    if kind == "median":
        return MedianStoppingRule(grace_period=grace, min_samples_required=settings.reduction_factor, **common)
    if kind == "pbt":
        _require_mutable(space)
        return Population(space, settings.seed, perturbation_interval=grace, **common)
    return FIFOScheduler()  # type: ignore[no-untyped-call]


class Hyperband(HyperBandScheduler):
    """Hyperband for sweeps whose processes may be lost, and that may be gone on with."""

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Give a trial its place, unless it has one, or has ended: its bracket would wait for it for ever."""
        if trial not in self._trial_info and trial.status not in (Trial.TERMINATED, Trial.ERROR):
            super().on_trial_add(tune_controller, trial)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Take its place from a trial that is given up.

        This is said of one that is tried again as well, which Ray Tune has marked by then; one that is given up is
        marked later.
        """
        if trial.status != Trial.ERROR:
            super().on_trial_error(tune_controller, trial)


class Population(PopulationBasedTraining):
    """Population-based training that stays in its space, and draws all that it draws from one seed.

    Args:
        space: what varies.
        seed: of whom a bad trial copies, and how the copy is changed.
        **settings: of Ray Tune's own.
    """

    def __init__(self, space: Space, seed: int, **settings: Any) -> None:
        self._generator = random.Random(seed)
        super().__init__(custom_explore_fn=_Exploration(space, derive_seed(seed, 1)), **settings)

    def _checkpoint_or_exploit(
        self, trial: Trial, tune_controller: Any, upper_quantile: Any, lower_quantile: Any
    ) -> None:
        # Ray Tune would choose among the good ones by a generator that everything in this process shares.
        if trial in lower_quantile:
            upper_quantile = [self._generator.choice(upper_quantile)]
        super()._checkpoint_or_exploit(trial, tune_controller, upper_quantile, lower_quantile)


class _Exploration:
    """A configuration as it is tried next; an object, because the scheduler is pickled with its generators."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._generator = random.Random(seed)
        self._study = random_study(seed)

    def __call__(self, configuration: Mapping[str, Any]) -> dict[str, Any]:
        fresh = self._space.draw(self._study.ask(), {})
        return explored(configuration, fresh, self._space, self._generator)


def explored(
    configuration: Mapping[str, Any], fresh: Mapping[str, Value], space: Space, generator: random.Random
) -> dict[str, Any]:
    """A configuration varied within its space: each parameter drawn anew now and then, else moved a little.

    Args:
        configuration: of a trial that does well; what the space does not vary stays.
        fresh: one drawn anew.
        space: without conditions.
        generator: decides which parameters are drawn anew, and which way the others move.
    """
    varied = dict(configuration)
    for name, parameter in space.parameters.items():
        anew, direction = generator.random() < _REDRAWN, generator.choice((-1, 1))
        varied[name] = fresh[name] if anew else moved(parameter, configuration[name], direction)
    return varied


def moved(parameter: Parameter, value: Any, direction: int) -> Value:
    """A value a fifth lower or higher, at least one step, within the range; of choices, the one before or after.

    >>> moved(Parameter.model_validate({"float": [0.0, 0.6], "step": 0.1}), 0.6, 1)
    0.6
    """
    if parameter.choice is not None:
        position = parameter.choice.index(value) + direction
        return parameter.choice[min(max(position, 0), len(parameter.choice) - 1)]
    low, high = parameter.integer or parameter.number or (0, 0)
    step = parameter.step or (1 if parameter.integer else 0)
    target = value + direction * max(_CHANGE * abs(value), step)
    if step:
        # Without what steps add up to: 0.30000000000000004 where 0.3 is meant.
        target = round(low + round((target - low) / step) * step, 12)
    target = min(max(target, low), high)
    return int(target) if parameter.integer else target


def _require_mutable(space: Space) -> None:
    for name, parameter in space.parameters.items():
        if not (name.startswith(_MUTABLE) or name.endswith(".dropout")) or parameter.when:
            raise UserError(
                f"tune.scheduler pbt: {name} cannot change in the middle of a training; give it a space of dropouts, "
                "rates, augmentation and losses, such as learning_rate, without conditions"
            )
