"""A store of MLflow runs: its address, its client, and whether it can be used."""

from __future__ import annotations

import functools
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote

from fgcme.addresses import TRACKING, hide, reveal
from fgcme.errors import UserError
from fgcme.files import locked
from fgcme.tracking.credentials import without_credentials
from fgcme.tracking.failures import explain, is_permanent
from fgcme.tracking.moved import follow_move
from fgcme.tracking.retrying import retry_briefly, wait_while_alive, with_timeout

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.store.entities import PagedList

T = TypeVar("T")

_SQLITE = "sqlite:///"


def resolve_uri(uri: str | None) -> str:
    """Where runs are recorded: the setting, else `MLFLOW_TRACKING_URI`, else `mlflow.db` in the working directory.

    A relative SQLite path becomes absolute, because workers run in other folders. A server's address loses the slash at
    its end, and every address its password, which `mlflow_client` knows all the same.

    >>> resolve_uri("https://mlflow.example.org")
    'https://mlflow.example.org'
    >>> resolve_uri("sqlite:////data/mlflow.db")
    'sqlite:////data/mlflow.db'
    """
    uri = hide(uri or os.environ.get(TRACKING) or f"{_SQLITE}mlflow.db")
    path = sqlite_path(uri)
    if path is None or path.is_absolute():
        return uri
    _, question, options = uri.partition("?")
    # In an address, these signs of a path would stand for others.
    place = str(path.expanduser().absolute()).replace("%", "%25").replace("?", "%3F")
    return f"{_SQLITE}{place}{question}{options}"


def sqlite_path(uri: str) -> Path | None:
    """The file of a SQLite database; None for other stores, and for a database in memory."""
    if not uri.startswith(_SQLITE):
        return None
    path = unquote(uri.removeprefix(_SQLITE).partition("?")[0])
    return None if path in ("", ":memory:") else Path(path)


@contextmanager
def sqlite_lock(uri: str) -> Iterator[None]:
    """A block in which one process at a time writes to a SQLite database; for other stores it does nothing.

    SQLite's own lock is won at random: of many processes that write at once, one may never get it.
    """
    path = sqlite_path(uri)
    if path is None:
        yield
        return
    with locked(path.with_name(f"{path.name}.lock")):
        yield


def mlflow_client(uri: str) -> MlflowClient:
    """MLflow's own client of a store, one for each process and password.

    Raises:
        UserError: the password of its address is not known here.
    """
    return _client(reveal(uri))


@functools.cache
def _client(address: str) -> MlflowClient:
    silence_mlflow()
    from mlflow import MlflowClient

    place = without_credentials(address)
    # Seen, rarely: MLflow's threads race, and the first client of a process fails.
    return retry_briefly(lambda: MlflowClient(tracking_uri=place))


def pages(fetch: Callable[[str | None], PagedList[T]]) -> Iterator[list[T]]:
    """All pages of a listing of MLflow, which gives one at a time.

    Args:
        fetch: the page of a token; the first one has none.
    """
    token, is_last = None, False
    while not is_last:
        page = fetch(token)
        token, is_last = page.token, not page.token
        yield page


def experiment_ids(client: MlflowClient) -> Iterator[list[str]]:
    """The ids of all experiments of a store, page by page: a shared one has thousands."""
    for page in pages(lambda token: client.search_experiments(page_token=token)):
        yield [experiment.experiment_id for experiment in page]


def silence_mlflow() -> None:
    """Switch off MLflow's statistics, messages and retries; call it before MLflow is imported.

    Environment variables that are already set stay as they are.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # Printing the address at the end of a run costs a request.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    # Repeating the request that creates a run may create two.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    # A lock file in the working directory belongs to the user's project, not to the model.
    os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It prints tracebacks of errors that it also raises.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def ping(uri: str) -> None:
    """Ask a store for something small.

    Raises:
        Exception: it does not answer, or not as an MLflow store does.
    """
    # Created outside the timeout: the first import of MLflow takes seconds.
    client = mlflow_client(uri)
    with_timeout(lambda: client.search_experiments(max_results=1))


def why_unavailable(uri: str) -> str | None:
    """Why a store cannot be used, and the way out, on one line; None if it answers."""
    silence_mlflow()
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        ping(uri)
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        return explain(uri, error)
    return None


def require_available(uri: str) -> None:
    """Check that a store answers.

    Raises:
        UserError: it does not, within about ten seconds.
    """
    if reason := why_unavailable(uri):
        raise UserError(reason)


def prepare_store(uri: str) -> None:
    """Make a store ready for many writers; the driver calls it once, before anything runs in parallel.

    A missing SQLite database is created with its tables: processes that create it at once would break it. A server is
    asked whether it answers.

    Args:
        uri: as `resolve_uri` returns it.

    Raises:
        UserError: the database cannot be created or used, or the server does not answer within about ten seconds.
    """
    path = sqlite_path(uri)
    if path is None:
        require_available(uri)
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Two drivers may start at once.
        with sqlite_lock(uri):
            _follow_move(path)
            require_available(uri)
    except OSError as error:
        raise UserError(f"{uri}: the database cannot be made here ({error.strerror}); set tracking.uri") from None


def _follow_move(database: Path) -> None:
    """Let artifacts be found in a folder that was moved, and say so; what else is wrong is MLflow's to say."""
    with suppress(sqlite3.Error):
        if (before := follow_move(database)) is not None:
            print(f"{database}: its folder was {before} before; artifacts are looked for where it is now", flush=True)


def require_store(uri: str) -> None:
    """Check that a store exists and answers, for commands that only read from it.

    Args:
        uri: as `resolve_uri` returns it.

    Raises:
        UserError: there is no such database, or the server does not answer within about ten seconds.
    """
    path = sqlite_path(uri)
    if path is not None and not path.is_file():
        raise UserError(f"{path}: no MLflow database here; go to the folder that has it, or set MLFLOW_TRACKING_URI")
    if path is not None:
        _follow_move(path)
    require_available(uri)


def call_store(uri: str, call: Callable[[], T]) -> T:
    """The result of a call to a store. Waits as long as it takes, provided that the store answers a ping meanwhile.

    Raises:
        UserError: the store does not answer.
        Exception: the store refuses the call.
    """
    try:
        return wait_while_alive(call, lambda: ping(uri))
    except Exception as error:
        if is_permanent(error):
            raise
        raise UserError(explain(uri, error)) from None


def query_store(uri: str, call: Callable[[], T]) -> T:
    """`call_store` for a call that may be made twice: it is retried for a moment.

    Raises:
        UserError: the store does not answer.
        Exception: the store refuses the call.
    """
    return call_store(uri, lambda: retry_briefly(call))
