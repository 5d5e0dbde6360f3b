"""Errors of a store of MLflow runs: whether a retry can help, and what they say in one line."""

from __future__ import annotations

import re

from fgcme.addresses import without_passwords
from fgcme.errors import UserError

# Not signed in, too slow, too busy: the same request may be accepted later.
_RETRYABLE_STATUSES = (401, 403, 408, 429)
# A server calls a database that is away for a moment a bad request.
_DATABASE_AWAY = re.compile(r"QueuePool limit|InterfaceError|OperationalError|PendingRollbackError")


def is_permanent(error: Exception) -> bool:
    """Whether the request itself is wrong, so that it would fail again at any other time.

    >>> is_permanent(ConnectionError("[Errno 111] Connection refused")), is_permanent(ValueError("not a number"))
    (False, True)
    """
    from mlflow.exceptions import MlflowException

    status: int | None
    if isinstance(error, MlflowException):
        status = int(error.get_http_status_code())  # type: ignore[no-untyped-call]
        if error.error_code == "BAD_REQUEST" and _DATABASE_AWAY.search(str(error)):
            return False
    else:
        status = getattr(getattr(error, "response", None), "status_code", None)
    if status is None:
        return isinstance(error, UserError | TypeError | ValueError) and not isinstance(error, OSError)
    return 400 <= status < 500 and status not in _RETRYABLE_STATUSES


def is_deleted(error: Exception) -> bool:
    """Whether a write failed because its run was deleted, in the trash or for good."""
    from mlflow.exceptions import MlflowException

    if not isinstance(error, MlflowException):
        return False
    return error.error_code == "RESOURCE_DOES_NOT_EXIST" or "Current state is deleted" in str(error)


def mlflow_message(error: Exception) -> str:
    """The cause of an error, MLflow's or another, on one line and without passwords.

    >>> mlflow_message(
    ...     OSError("HTTPConnectionPool(...): Max retries exceeded (Caused by ...: [Errno 111] Connection refused'))")
    ... )
    'connection refused'
    """
    text = without_passwords(" ".join(str(error).split()))
    if refused := re.search(r"\[Errno -?\d+\] ([\w ]+)", text):
        return refused[1].lower()
    if "timed out" in text:
        return "no answer in time"
    if status := re.search(r"error code (\d{3}) != 200|too many (\d{3}) error responses", text):
        return f"HTTP status {status[1] or status[2]}"
    sentence = text.partition(". ")[0]
    return sentence if len(sentence) <= 200 else f"{sentence[:200]}..."


def explain(uri: str, error: Exception) -> str:
    """Why a store cannot be used, and the way out, on one line."""
    if "out-of-date database schema" in str(error):
        return f"{uri}: made by another version of MLflow; back it up and run `mlflow db upgrade {uri}`"
    if uri.startswith("http"):
        return (
            f"{uri}: the MLflow server does not answer ({mlflow_message(error)}); start it, or set MLFLOW_TRACKING_URI"
        )
    return f"{uri}: cannot be used as an MLflow store ({mlflow_message(error)}); set MLFLOW_TRACKING_URI"
