"""Calls that fail, or take long: repeated for a moment, given up after a while."""

from __future__ import annotations

import threading
import time

import pytest

from fgcme.tracking import retrying
from fgcme.tracking.retrying import retry_briefly, wait_while_alive, with_timeout


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "PATIENCE_SECONDS", 0.2)


def test_a_call_that_fails_at_first_is_repeated() -> None:
    attempts = 0

    def call() -> int:
        nonlocal attempts
        attempts += 1
        if attempts < 3:
            raise ConnectionError("reset")
        return attempts

    assert retry_briefly(call) == 3


def test_a_call_that_keeps_failing_is_given_up_after_two_seconds() -> None:
    attempts: list[float] = []

    def call() -> None:
        attempts.append(time.monotonic())
        raise ConnectionError("reset")

    started = time.monotonic()
    with pytest.raises(ConnectionError, match="reset"):
        retry_briefly(call)
    assert 2 <= time.monotonic() - started < 30
    assert len(attempts) > 2


def test_a_permanent_error_is_raised_at_once() -> None:
    attempts = 0

    def call() -> None:
        nonlocal attempts
        attempts += 1
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        retry_briefly(call)
    assert attempts == 1


def test_a_call_that_ends_in_time_gives_its_result_or_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "PATIENCE_SECONDS", 60.0)
    assert with_timeout(lambda: "answer") == "answer"
    with pytest.raises(KeyError):
        with_timeout(lambda: {}["missing"])


def test_a_call_that_takes_too_long_is_left_alone() -> None:
    release, done = threading.Event(), threading.Event()

    def call() -> None:
        release.wait(60)
        done.set()

    with pytest.raises(TimeoutError, match="timed out"):
        with_timeout(call)
    release.set()
    assert done.wait(60)


def test_a_long_call_is_waited_for_while_the_store_answers() -> None:
    pinged = threading.Event()

    def call() -> str:
        assert pinged.wait(60)
        return "uploaded"

    assert wait_while_alive(call, pinged.set) == "uploaded"


def test_a_long_call_is_given_up_when_the_store_does_not_answer() -> None:
    release = threading.Event()

    def ping() -> None:
        raise ConnectionError("away")

    with pytest.raises(ConnectionError, match="away"):
        wait_while_alive(lambda: release.wait(60), ping)
    release.set()


def test_the_error_of_a_long_call_is_raised() -> None:
    with pytest.raises(KeyError):
        wait_while_alive(lambda: {}["missing"], lambda: None)
