"""The speech that other tests listen to."""

from __future__ import annotations

import numpy as np
import pytest

from tests.speech import say

TEXT = "seven brown horses jumped over a garden fence"


def test_a_text_sounds_the_same_whatever_was_said_before() -> None:
    say.cache_clear()
    first, onsets = say(TEXT)
    for other, rate, voice in (("open the window", 250, "en-us+f3"), ("who is there", 100, "en-us+m1")):
        say(other, rate, voice)
    say.cache_clear()
    again, same = say(TEXT)
    np.testing.assert_array_equal(again, first)
    assert same == onsets == sorted(onsets, key=lambda word: word[1])
    assert [word for word, _ in onsets] == TEXT.split()


def test_an_unknown_voice_fails_and_the_next_text_is_spoken() -> None:
    with pytest.raises(AssertionError, match="did not speak 'hello' in the voice xx-nobody"):
        say("hello", voice="xx-nobody")
    assert len(say("hello")[0]) > 4000
