"""Limits have one place; a refusal says what was wrong to people and to programs."""

import json

from fgcme.server.limits import Limits, RefusalError, busy


def test_a_refusal_is_json_with_a_sentence_and_a_code() -> None:
    response = RefusalError(413, "too_large", "the body is too large").response()
    assert response.status_code == 413
    assert json.loads(bytes(response.body)) == {"detail": "the body is too large", "reason": "too_large"}


def test_who_comes_at_a_bad_moment_is_told_when_to_ask_again() -> None:
    response = busy("32 wait").response()
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")


def test_a_minute_of_common_speech_fits_into_a_body() -> None:
    # 48 kHz, one channel, 16 bits, in base64.
    assert Limits().seconds * 48_000 * 2 * 4 / 3 < Limits().body < Limits().held
