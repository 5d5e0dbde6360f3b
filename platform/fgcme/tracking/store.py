"""A store of MLflow runs as this process reaches it: its client, what its errors mean, and patience that has an end."""

from __future__ import annotations

import fcntl
import functools
import logging
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from fgcme.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")

SQLITE = "sqlite:///"

# A server that has not said a word for so long is taken to be away, though MLflow itself would wait for minutes.
PATIENCE_SECONDS = 8.0
# A call that fails at once is made again for so long: a connection that had been idle may just have been closed.
_INSISTENCE_SECONDS = 2.0
# Not signed in, too slow, too busy: the request is as it should be, and may be taken later.
_TAKEN_LATER = (401, 403, 408, 429)
# A database that is away for a moment, which a server calls a bad request.
_DATABASE_AWAY = re.compile(r"QueuePool limit|InterfaceError|OperationalError|PendingRollbackError")


@functools.cache
def mlflow_client(uri: str) -> MlflowClient:
    """MLflow's own client of a store, one for the process."""
    silence_mlflow()
    from mlflow import MlflowClient

    # Seen, seldom: the first client of a process fails in a race between MLflow's own threads, the second does not.
    return retry_briefly(lambda: MlflowClient(tracking_uri=uri))


def silence_mlflow() -> None:
    """Keep MLflow from sending statistics, from chatting and from repeating requests of its own accord; to be called
    before it is imported. What is set stays.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # Told at the end of each run, at the price of a request.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # A request to make a run that is repeated blindly may make two.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    # A lock file of the user's own project, in the working directory, is not the model's.
    os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It prints whole tracebacks of what it raises as well.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite database; None if a store is none, or lives in memory."""
    if not uri.startswith(SQLITE):
        return None
    path = uri.removeprefix(SQLITE).partition("?")[0]
    return None if path in ("", ":memory:") else Path(path)


@contextmanager
def sqlite_lock(uri: str) -> Iterator[None]:
    """A block that, for a SQLite database, one process at a time is in; any number for other stores.

    SQLite lets those who wait for its lock try at random, so that of many who write at once one may never get it.
    """
    path = sqlite_path(uri)
    if path is None:
        yield
        return
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_permanent(error: Exception) -> bool:
    """Whether an error says that the request itself is wrong, so that it would fail again at any other time.

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
    return 400 <= status < 500 and status not in _TAKEN_LATER


def is_deleted(error: Exception) -> bool:
    """Whether a write was refused because its run has been deleted, for a while or for good."""
    from mlflow.exceptions import MlflowException

    if not isinstance(error, MlflowException):
        return False
    return error.error_code == "RESOURCE_DOES_NOT_EXIST" or "Current state is deleted" in str(error)


def retry_briefly(call: Callable[[], T]) -> T:
    """What a call gives, made again for a moment where a store does not answer.

    Raises:
        Exception: what the last call raised, or the first that is refused.
    """
    until = time.monotonic() + _INSISTENCE_SECONDS
    while True:
        try:
            return call()
        except Exception as error:
            if is_permanent(error) or time.monotonic() > until:
                raise
        time.sleep(random.uniform(0.05, 0.3))


def with_timeout(seconds: float, call: Callable[[], T]) -> T:
    """What a call gives, if it ends in time; one that does not is left to itself.

    Raises:
        TimeoutError: it did not.
        Exception: what the call raised.
    """
    future = _begin(call)
    if not wait([future], seconds).done:
        raise TimeoutError("timed out")
    return future.result()


def wait_while_alive(uri: str, call: Callable[[], T]) -> T:
    """What a call gives, however long it takes, as long as the store answers others meanwhile.

    Raises:
        Exception: what the call raised, or why the store does not answer.
    """
    future = _begin(call)
    while not wait([future], PATIENCE_SECONDS).done:
        ask(uri)
    return future.result()


def ask(uri: str) -> None:
    """Ask a store for something small.

    Raises:
        Exception: it does not answer, or not with what an MLflow store would.
    """
    # Made here, since the first import of MLflow takes its time.
    store = mlflow_client(uri)
    with_timeout(PATIENCE_SECONDS, lambda: store.search_experiments(max_results=1))


def why_unavailable(uri: str) -> str | None:
    """Why a store cannot be used, and the way out, on one line; None if it answers."""
    silence_mlflow()
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        ask(uri)
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        return explain(uri, error)
    return None


def explain(uri: str, error: Exception) -> str:
    """Why a store cannot be used, and the way out, on one line."""
    if "out-of-date database schema" in str(error):
        return f"{uri}: made by another version of MLflow; back it up and run `mlflow db upgrade {uri}`"
    if uri.startswith("http"):
        return (
            f"{uri}: the MLflow server does not answer ({mlflow_message(error)}); start it, or set MLFLOW_TRACKING_URI"
        )
    return f"{uri}: cannot be used as an MLflow store ({mlflow_message(error)}); set MLFLOW_TRACKING_URI"


def mlflow_message(error: Exception) -> str:
    """What an error of MLflow comes down to, on one line.

    >>> mlflow_message(
    ...     OSError("HTTPConnectionPool(...): Max retries exceeded (Caused by ...: [Errno 111] Connection refused'))")
    ... )
    'connection refused'
    """
    text = " ".join(str(error).split())
    if refused := re.search(r"\[Errno -?\d+\] ([\w ]+)", text):
        return refused[1].lower()
    if "timed out" in text:
        return "no answer in time"
    if status := re.search(r"error code (\d{3}) != 200|too many (\d{3}) error responses", text):
        return f"HTTP status {status[1] or status[2]}"
    sentence = text.partition(". ")[0]
    return sentence if len(sentence) <= 200 else f"{sentence[:200]}..."


def _begin(call: Callable[[], T]) -> Future[T]:
    """A call in a thread of its own, which does not keep the program from ending."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001  whoever waits for the result gets it
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
