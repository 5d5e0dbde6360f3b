"""Samplers of Optuna for sweeps of any length, and for sweeps whose driver was killed."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from typing_extensions import override

from pipelines.sweep.internals import StudyWindow

WINDOW = 1000
"""Trials that TPE learns from, at most."""
# TPE calls so many trials good at most (Optuna's default), and all others bad.
_GOOD = 25


class BoundedTPESampler(TPESampler):
    """TPE that learns from the best trials and the latest ones, so that no proposal takes longer and longer.

    TPE tells the few best trials from all others, of which it weighs the older the less. Beyond `WINDOW` trials the
    oldest of those others are left out. Where two objectives count, so are the good ones but for the best in each.

    Args:
        **settings: of Optuna's own class.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._window = TrialWindow()
        self._seen: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """All but what belongs to one trial."""
        return {**vars(self), "_seen": None}

    @override
    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Choose the trials to learn from; tell which parameters are drawn jointly."""
        self._seen = StudyWindow(study, self._window.trials_of(study))
        return super().infer_relative_search_space(self._seen, trial)

    @override
    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw the parameters that are drawn jointly."""
        return super().sample_relative(self._seen, trial, search_space)

    @override
    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one parameter."""
        return super().sample_independent(self._seen, trial, param_name, param_distribution)


class TrialWindow:
    """The trials of a study to learn from; it takes no longer to find them in a long study than in a short one."""

    def __init__(self) -> None:
        # Numbers of trials: all before `_passed` have left the window, of which some still run, and some are the best.
        self._passed = 0
        self._running: list[int] = []
        self._best: dict[int, list[int]] = {}

    def trials_of(self, study: optuna.Study) -> list[FrozenTrial]:
        """Those that run, the best in each objective, and the latest, in their order."""
        trials = study.get_trials(deepcopy=False)
        begin = max(0, len(trials) - WINDOW)
        left = [*self._running, *range(self._passed, begin)]
        self._passed = begin
        self._running = [number for number in left if not trials[number].state.is_finished()]
        complete = [number for number in left if trials[number].state == TrialState.COMPLETE]
        for position, direction in enumerate(study.directions):
            values = {number: (trials[number].values or [0.0])[position] for number in complete}
            values |= {number: (trials[number].values or [0.0])[position] for number in self._best.get(position, ())}
            choose = heapq.nlargest if direction == StudyDirection.MAXIMIZE else heapq.nsmallest
            self._best[position] = choose(_GOOD, sorted(values), key=values.__getitem__)
        kept = {*self._running, *(number for best in self._best.values() for number in best)}
        return [trials[number] for number in sorted(kept)] + trials[begin:]


class WrappingSampler(BaseSampler):
    """Does what another sampler does; its subclasses change a part of that."""

    @property
    def wrapped(self) -> BaseSampler:
        """The other sampler."""
        raise NotImplementedError

    @override
    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Tell which parameters are drawn jointly."""
        return self.wrapped.infer_relative_search_space(study, trial)

    @override
    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw the parameters that are drawn jointly."""
        return self.wrapped.sample_relative(study, trial, search_space)

    @override
    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one parameter."""
        return self.wrapped.sample_independent(study, trial, param_name, param_distribution)

    @override
    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Prepare for a trial."""
        self.wrapped.before_trial(study, trial)

    @override
    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Take note of a trial's result."""
        self.wrapped.after_trial(study, trial, state, values)


class ReplayingSampler(WrappingSampler):
    """Draws as another sampler does, but lets trials that were proposed before keep their configurations.

    A killed driver may have proposed trials that it had no time to remember, and some of them may have ended. A driver
    that resumes its sweep gives the same numbers again, and the other sampler draws for these as for all others: so its
    random numbers are those of an undisturbed sweep. But what has ended since may make it draw something else.

    Args:
        sampler: draws.
        proposed: the settings of trials that were proposed before, by their numbers.
    """

    def __init__(self, sampler: BaseSampler, proposed: Mapping[int, Mapping[str, Any]]) -> None:
        self._sampler = sampler
        self.proposed = proposed

    @property
    @override
    def wrapped(self) -> BaseSampler:
        """The sampler that draws."""
        return self._sampler

    @override
    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw the parameters that are drawn jointly, or repeat them."""
        drawn, before = super().sample_relative(study, trial, search_space), self.proposed.get(trial.number, {})
        return {name: before.get(name, value) for name, value in drawn.items()}

    @override
    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw one parameter, or repeat it."""
        drawn = super().sample_independent(study, trial, param_name, param_distribution)
        return self.proposed.get(trial.number, {}).get(param_name, drawn)
