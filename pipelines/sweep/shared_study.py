"""An Optuna study in a database.

Several drivers may share it, and it may hold trials that a killed driver's last snapshot lacks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Literal

import optuna
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from typing_extensions import override

from fgcme.addresses import without_passwords
from fgcme.errors import UserError
from fgcme.seeds import derive_seed
from pipelines.sweep.internals import fix_parameters
from pipelines.sweep.samplers import WrappingSampler
from pipelines.sweep.study_storage import StudyStorage

Direction = Literal["minimize", "maximize"]

SWEEP = "fgcme.sweep"
"""Attribute of a study's trial: id of the sweep that it belongs to."""
_IDENTITY = "fgcme.identity"


def open_study(address: str, name: str, identity: str, directions: list[Direction]) -> BaseStorage:
    """Open a study, or create it, and return its storage.

    Args:
        address: of the database.
        name: of the study.
        identity: hash of all that decides a trial's result; drivers that share a study have the same.
        directions: one for each metric that the study optimises.

    Raises:
        UserError: the database cannot be used, or its study has another identity.
    """
    try:
        storage = StudyStorage(address)
        study = optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
        known = study.user_attrs.get(_IDENTITY)
        if known is None:
            study.set_user_attr(_IDENTITY, identity)
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001  SQLAlchemy and each database's driver have errors of their own
        raise unusable(address, error) from None
    if known not in (None, identity):
        raise UserError(
            f"tune.study_storage: {address} has a study {name} of another space, corpus or experiment; "
            "name another database, or another experiment (`name:`)"
        )
    return storage


def unusable(address: str, error: Exception) -> UserError:
    """The refusal of a database that raised an error."""
    reason = without_passwords(str(error).partition("\n")[0])
    return UserError(f"tune.study_storage: {address} cannot be used ({reason})")


def has_trials(storage: BaseStorage, name: str) -> bool:
    """Whether a study has trials."""
    return bool(optuna.load_study(study_name=name, storage=storage).get_trials(deepcopy=False))


def forgotten_trials(storage: BaseStorage, name: str, sweep: str, known: Set[int]) -> list[int]:
    """Numbers of the trials that were proposed after a driver's last snapshot; some may have ended.

    Args:
        storage: of the study.
        name: of the study.
        sweep: id of the driver's sweep.
        known: numbers of the trials in its records.
    """
    return [
        trial.number
        for trial in _trials_of(storage, name, sweep, TrialState.RUNNING, TrialState.COMPLETE)
        if trial.number not in known
    ]


def tell_results(
    storage: BaseStorage, name: str, sweep: str, result_of: Callable[[int], Sequence[float] | None]
) -> None:
    """Tell a study the results of trials that ended while its database was away.

    Args:
        storage: of the study.
        name: of the study.
        sweep: id of the sweep that the trials belong to.
        result_of: the values that the study optimises, of the trial with a number; None if it has not ended.
    """
    study = optuna.load_study(study_name=name, storage=storage)
    for trial in _trials_of(storage, name, sweep, TrialState.RUNNING):
        if (values := result_of(trial.number)) is not None:
            study.tell(trial.number, list(values))


def _trials_of(storage: BaseStorage, name: str, sweep: str, *states: TrialState) -> list[FrozenTrial]:
    """The trials of a sweep that are in one of some states."""
    study = optuna.load_study(study_name=name, storage=storage)
    return [trial for trial in study.get_trials(deepcopy=False, states=states) if trial.user_attrs.get(SWEEP) == sweep]


def random_study(seed: int) -> optuna.Study:
    """A study in memory that draws at random, whatever the results so far."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(sampler=RandomSampler(seed))


class SharedStudySampler(WrappingSampler):
    """Draws for one of the drivers that share a study.

    Trial numbers are unique across drivers. The driver that gets number 0 enqueues the initial trials, and draws as it
    would without other drivers. Each other driver derives its seed from the first number that it gets.

    Args:
        make_sampler: makes the sampler that draws, from its seed.
        seed: the same for all drivers.
        initial_trials: configurations to try before any is drawn.
    """

    def __init__(
        self, make_sampler: Callable[[int], BaseSampler], seed: int, initial_trials: Sequence[Mapping[str, Any]]
    ) -> None:
        self._make_sampler = make_sampler
        self._seed = seed
        self._initial_trials = initial_trials
        self._sampler: BaseSampler | None = None

    @override
    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Find out which of the drivers this is, by its first trial."""
        # One that a sweep has already is proposed to its resumed driver again.
        if trial.number == 0 and self._initial_trials and SWEEP not in trial.user_attrs:
            first, *others = self._initial_trials
            fix_parameters(trial, first)
            for point in others:
                study.enqueue_trial(dict(point))
        if self._sampler is None:
            own_seed = derive_seed(self._seed, trial.number) if trial.number else self._seed
            self._sampler = self._make_sampler(own_seed)
        super().before_trial(study, trial)

    @property
    @override
    def wrapped(self) -> BaseSampler:
        """This driver's own sampler."""
        assert self._sampler is not None, "Optuna calls before_trial before it draws"
        return self._sampler
