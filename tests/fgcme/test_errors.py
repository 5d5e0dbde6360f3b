"""What a user can put right, told in one line that shows no password."""

from __future__ import annotations

import pickle

import pytest

from fgcme.errors import DataError, UnfinishedError, UserError, without_passwords


def test_unfinished_work_says_its_message_alone_and_carries_what_to_change() -> None:
    error = UnfinishedError("2 trials failed", "tune.max_failures=2")
    assert str(error) == "2 trials failed" and error.settings == ("tune.max_failures=2",)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.settings) == (str(error), error.settings)


def test_an_error_of_data_survives_pickling_with_its_reason_and_message() -> None:
    class ReadError(DataError):
        stage = "read"

    error = ReadError("too_short", "a.wav: no whole frame")
    assert (str(error), error.reason, error.message) == ("a.wav: no whole frame", "too_short", "a.wav: no whole frame")
    again = pickle.loads(pickle.dumps(DataError("too_short", "a.wav: no whole frame")))
    assert (again.reason, again.message) == ("too_short", "a.wav: no whole frame")


def test_what_a_user_can_put_right_is_told_from_other_errors() -> None:
    assert issubclass(UnfinishedError, UserError) and not issubclass(DataError, UserError)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:secret@host/runs is away", "postgresql://me:...@host/runs is away"),
        ("http://host:5000 and postgresql://me:secret@host", "http://host:5000 and postgresql://me:...@host"),
        ("a mail to me@host, at 10:30", "a mail to me@host, at 10:30"),
    ],
)
def test_no_address_shows_its_password(text: str, shown: str) -> None:
    assert without_passwords(text) == shown
