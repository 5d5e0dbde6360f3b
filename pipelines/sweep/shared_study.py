"""A study in a database: shared by drivers that draw each for itself, and ahead of a driver that was killed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from fgcme.errors import UserError
from fgcme.seeds import derive_seed

Direction = Literal["minimize", "maximize"]

# What a study's trials carry: whose they are.
SWEEP = "fgcme.sweep"
_IDENTITY = "fgcme.identity"


def join(address: str, name: str, identity: str, directions: list[Direction]) -> BaseStorage:
    """The storage of a study, which is made if it is new.

    Args:
        address: of the database.
        name: of the study.
        identity: of all that decides a trial's result; drivers share a study only if they agree on it.
        directions: of what is to be had.

    Raises:
        UserError: the database cannot be used, or its study is of something else.
    """
    try:
        storage = optuna.storages.RDBStorage(address)
        study = optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
        known = study.user_attrs.get(_IDENTITY)
        if known is None:
            study.set_user_attr(_IDENTITY, identity)
    except Exception as error:  # noqa: BLE001  SQLAlchemy and each database's driver have errors of their own
        raise UserError(f"tune.study_storage: {address} cannot be used ({str(error).partition(chr(10))[0]})") from None
    if known not in (None, identity):
        raise UserError(
            f"tune.study_storage: {address} has a study {name} of another space, corpus or experiment; "
            "name another database, or another experiment (`name:`)"
        )
    return storage


def has_trials(storage: BaseStorage, name: str) -> bool:
    """Whether a study has trials."""
    return bool(optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False))


def requeue_orphans(storage: BaseStorage, name: str, sweep: str, known: Set[int]) -> list[int]:
    """Let a study propose again what a driver that was killed had been given, and does not know.

    Args:
        storage: of the study.
        name: of the study.
        sweep: whose driver was killed.
        known: numbers of the trials that it knows.

    Returns:
        The numbers of the others, which count as failed from now on.
    """
    study = optuna.load_study(study_name=name, storage=storage)
    lost = [
        trial
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if trial.user_attrs.get(SWEEP) == sweep and trial.number not in known
    ]
    for trial in lost:
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)
    return [trial.number for trial in lost]


def random_study(seed: int) -> optuna.Study:
    """A study in memory that draws evenly, whatever it hears."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=RandomSampler(seed))


class SharedStudySampler(BaseSampler):
    """Draws for one of the drivers that share a study.

    A number is given out once, whoever asks. So the driver that gets the first one sees to the configurations to try
    first, and draws as it would alone; the others' draws follow from the number that each of them gets first.

    Args:
        make: a sampler, from its seed.
        seed: that the drivers have in common.
        first: what is tried before anything is drawn.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int, first: Sequence[Mapping[str, Any]]) -> None:
        self._make = make
        self._seed = seed
        self._first = first
        self._own: BaseSampler | None = None

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Settle who this driver is."""
        if trial.number == 0 and self._first:
            here, *later = self._first
            # What Optuna keeps with a trial that was enqueued, and reads next.
            trial.system_attrs["fixed_params"] = dict(here)
            for point in later:
                study.enqueue_trial(dict(point))
        if self._own is None:
            # The driver that gets number 0 draws as it would alone.
            self._own = self._make(derive_seed(self._seed, trial.number) if trial.number else self._seed)
        self._own.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """What is drawn together."""
        return self._drawing.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Draw parameters together."""
        return self._drawing.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Draw a parameter on its own."""
        return self._drawing.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Hear of a trial's end."""
        self._drawing.after_trial(study, trial, state, values)

    @property
    def _drawing(self) -> BaseSampler:
        assert self._own is not None, "a trial begins before anything is drawn for it"
        return self._own
