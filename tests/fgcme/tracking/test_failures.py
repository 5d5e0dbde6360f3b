"""What an error of MLflow means: worth a retry or not, and its cause in a few words."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests
from mlflow.exceptions import MlflowException
from mlflow.protos import databricks_pb2 as codes

from fgcme.errors import UserError
from fgcme.tracking.failures import explain, is_deleted, is_permanent, mlflow_message
from tests.store import make_tracker


def http_error(status: int) -> requests.HTTPError:
    response = requests.Response()
    response.status_code = status
    return requests.HTTPError(f"status {status}", response=response)


@pytest.mark.parametrize(
    "error",
    [
        MlflowException("a bad name", error_code=codes.INVALID_PARAMETER_VALUE),
        MlflowException("no such run", error_code=codes.RESOURCE_DOES_NOT_EXIST),
        http_error(400),
        http_error(404),
        ValueError("not a number"),
        UserError("not recorded"),
    ],
    ids=repr,
)
def test_a_wrong_request_fails_at_any_time(error: Exception) -> None:
    assert is_permanent(error)


@pytest.mark.parametrize(
    "error",
    [
        MlflowException("locked", error_code=codes.TEMPORARILY_UNAVAILABLE),
        MlflowException("a fault of the server", error_code=codes.INTERNAL_ERROR),
        MlflowException("(psycopg2.OperationalError) server closed the connection", error_code=codes.BAD_REQUEST),
        MlflowException("QueuePool limit of size 5 overflow 10 reached", error_code=codes.BAD_REQUEST),
        MlflowException("not signed in", error_code=codes.UNAUTHENTICATED),
        http_error(403),
        http_error(408),
        http_error(429),
        http_error(502),
        ConnectionError("[Errno 111] Connection refused"),
        TimeoutError("timed out"),
    ],
    ids=repr,
)
def test_a_store_that_is_away_or_busy_may_accept_the_request_later(error: Exception) -> None:
    assert not is_permanent(error)


def test_a_write_to_a_deleted_run_is_told_from_other_errors(tmp_path: Path) -> None:
    tracker = make_tracker(tmp_path)
    run = tracker.create_run(tracker.get_or_create_experiment("deleted"), "run")
    with pytest.raises(MlflowException) as wrong:
        tracker.client.log_metric(run, "no:such/name?", 1.0)
    assert not is_deleted(wrong.value)
    tracker.client.delete_run(run)
    with pytest.raises(MlflowException) as in_the_trash:
        tracker.client.log_metric(run, "loss", 1.0)
    with pytest.raises(MlflowException) as unknown:
        tracker.client.log_metric("0" * 32, "loss", 1.0)
    assert is_deleted(in_the_trash.value) and is_deleted(unknown.value)
    assert not is_deleted(ConnectionError("away"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Max retries exceeded (Caused by ...: [Errno 111] Connection refused')", "connection refused"),
        ("Failed to resolve 'nowhere' ([Errno -2] Name or service not known)", "name or service not known"),
        ("Read timed out. (read timeout=8)", "no answer in time"),
        ("API request failed with error code 502 != 200", "HTTP status 502"),
        ("too many 503 error responses", "HTTP status 503"),
        ("The first sentence. The second one.", "The first sentence"),
        ("two\nlines", "two lines"),
        ("x" * 300, "x" * 200 + "..."),
    ],
)
def test_the_cause_of_an_error_is_one_short_line(text: str, message: str) -> None:
    assert mlflow_message(Exception(text)) == message


def test_an_unusable_store_is_explained_with_the_way_out() -> None:
    refused = ConnectionError("[Errno 111] Connection refused")
    assert explain("http://127.0.0.1:5000", refused) == (
        "http://127.0.0.1:5000: the MLflow server does not answer (connection refused); "
        "start it, or set MLFLOW_TRACKING_URI"
    )
    assert "cannot be used as an MLflow store (connection refused)" in explain("postgresql://host/db", refused)
    old = Exception("Detected out-of-date database schema (found version 1)")
    assert explain("sqlite:////x.db", old).endswith("back it up and run `mlflow db upgrade sqlite:////x.db`")
