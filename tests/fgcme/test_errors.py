"""Errors: their messages and pickling."""

from __future__ import annotations

import pickle

from fgcme.errors import DataError, UnfinishedError, UserError


def test_an_unfinished_error_shows_its_message_and_carries_settings() -> None:
    error = UnfinishedError("2 trials failed", "tune.max_failures=2")
    assert str(error) == "2 trials failed" and error.settings == ("tune.max_failures=2",)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.settings) == (str(error), error.settings)


def test_a_data_error_survives_pickling_with_its_reason_and_message() -> None:
    class ReadError(DataError):
        stage = "read"

    error = ReadError("too_short", "a.wav: no whole frame")
    assert (str(error), error.reason, error.message) == ("a.wav: no whole frame", "too_short", "a.wav: no whole frame")
    again = pickle.loads(pickle.dumps(DataError("too_short", "a.wav: no whole frame")))
    assert (again.reason, again.message) == ("too_short", "a.wav: no whole frame")


def test_unfinished_work_is_a_user_error_and_bad_data_is_not() -> None:
    assert issubclass(UnfinishedError, UserError) and not issubclass(DataError, UserError)
