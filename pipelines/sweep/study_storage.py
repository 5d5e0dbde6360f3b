"""The database of a study that drivers share: waited for while it is away, and pickled without its password."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, RDBStorage, _CachedStorage
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, PendingRollbackError, SQLAlchemyError
from typing_extensions import override

from fgcme.addresses import reveal, without_passwords
from fgcme.errors import UnfinishedError
from fgcme.tracking.relay import print_notice

# A database that is restarted or moved is back by then.
_PATIENCE_SECONDS = 600.0
_PAUSE_SECONDS = 1.0

# What was said of the databases that have stayed away, by address.
_given_up: dict[str, UnfinishedError] = {}


def require_answering(address: str | None) -> None:
    """Check that a study's database has not stayed away: Ray Tune drops some errors of what it asks of the study.

    Args:
        address: of the database, hidden; None for a study in memory.

    Raises:
        UnfinishedError: what was said of the database.
    """
    if address in _given_up:
        raise _given_up[address]


class StudyStorage(_CachedStorage):
    """Optuna's storage in a database. Every call waits while the database is away, and ends the sweep if it stays away.

    Args:
        address: of the database, hidden (`fgcme.addresses`).

    Raises:
        Exception: the database cannot be used now.
    """

    def __init__(self, address: str) -> None:
        # While a database is away, Optuna would print each statement that fails.
        optuna.logging.get_logger(RDBStorage.__module__).setLevel(logging.ERROR)
        # A server, or what lies between, closes connections that are idle.
        super().__init__(RDBStorage(reveal(address), engine_kwargs={"pool_pre_ping": True}))
        self._address = address
        _given_up.pop(address, None)

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        """Connect again where it is unpickled."""
        return StudyStorage, (self._address,)

    def wait(self, call: Callable[[], Any]) -> Any:
        """The result of a call to the database, repeated until it succeeds.

        Raises:
            UnfinishedError: the database stays away, has stayed away before, or refuses the call.
        """
        require_answering(self._address)
        deadline: float | None = None
        while True:
            try:
                result = call()
            except UpdateFinishedTrialError:
                if deadline is None:
                    raise
                # The database had ended the trial, and only its reply was lost.
                result = True
            except (StorageInternalError, SQLAlchemyError) as error:
                cause = error.__cause__ or error
                # SQLAlchemy adds the statement to what the database said.
                said = str(getattr(cause, "orig", cause)).partition("\n")[0]
                reason = f"tune.study_storage: {self._address} does not answer ({without_passwords(said)})"
                if not _is_away(cause) or (deadline is not None and time.monotonic() > deadline):
                    _given_up[self._address] = UnfinishedError(reason)
                    raise _given_up[self._address] from None
                if deadline is None:
                    deadline = time.monotonic() + _PATIENCE_SECONDS
                    print_notice(f"{reason}; the sweep waits up to {_PATIENCE_SECONDS / 60:g} minutes for it")
                time.sleep(_PAUSE_SECONDS)
                continue
            if deadline is not None:
                print_notice(f"tune.study_storage: {self._address} answers again")
            return result


def _is_away(error: BaseException) -> bool:
    """Whether a database may answer the same call later."""
    # The last one is what a second statement of a broken transaction says.
    return isinstance(error, OperationalError | InterfaceError | PendingRollbackError) or (
        isinstance(error, DBAPIError) and error.connection_invalidated
    )


def _waiting(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: StudyStorage, *arguments: Any, **named: Any) -> Any:
        return self.wait(lambda: method(self, *arguments, **named))

    return call


# All that Optuna asks of a storage.
for _name in sorted(BaseStorage.__abstractmethods__):
    setattr(StudyStorage, _name, _waiting(getattr(_CachedStorage, _name)))
