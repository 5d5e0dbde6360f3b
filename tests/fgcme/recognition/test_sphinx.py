"""PocketSphinx's own vocabulary, on speech that eSpeak NG makes: what it hears is often wrong, but always the same."""

from __future__ import annotations

import numpy as np

from fgcme import recognition
from fgcme.alignment.words import normalise
from tests.speech import say

VOICE = "en-us+f3"


def test_it_writes_down_words_of_clear_speech() -> None:
    samples, _ = say("one two three four five", voice=VOICE)
    assert recognition.build("sphinx").recognise(samples) == "one two three four five"


def test_what_it_hears_depends_neither_on_earlier_calls_nor_on_the_level() -> None:
    recogniser = recognition.build()
    (first, _), (other, _) = say("we are going home", voice=VOICE), say("no", voice=VOICE)
    expected = recogniser.recognise(first)
    assert expected and recogniser.recognise(other) != expected
    assert recogniser.recognise(first) == expected
    assert recogniser.recognise(first * np.float32(1 / 64)) == expected


def test_it_writes_no_word_of_noise_that_is_no_speech() -> None:
    noise = np.random.default_rng(0).normal(0, 0.01, 8_000).astype(np.float32)
    assert normalise(recognition.build().recognise(noise)) == []
