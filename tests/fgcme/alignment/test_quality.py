"""What an alignment tells of itself: words that last unevenly, and sound outside of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fgcme import alignment
from fgcme.alignment.quality import duration_deviation, signal_to_noise
from fgcme.audio import HOP
from tests.speech import say

TEXT = "open the window before dinner please"


def test_how_unevenly_words_last_is_the_deviation_of_log_frames_a_letter_whatever_the_tempo() -> None:
    words, begin, end = ["a", "bed", "window"], [0, 4, 20], [4, 10, 50]
    expected = float(np.std(np.log([4 / 1, 6 / 3, 30 / 6])))
    assert duration_deviation(words, begin, end) == pytest.approx(expected)
    slower = [[3 * edge for edge in edges] for edges in (begin, end)]
    assert duration_deviation(words, *slower) == pytest.approx(expected)
    assert duration_deviation(["alone"], [3], [40]) == 0
    assert math.isfinite(duration_deviation(["no", "room"], [0, 0], [0, 1]))


def test_signal_to_noise_is_that_of_the_words_to_what_surrounds_them() -> None:
    generator = np.random.default_rng(0)
    samples = generator.normal(0, 0.01, 300 * HOP).astype(np.float32)
    samples[100 * HOP : 200 * HOP] *= 10
    # With the first half of the speech outside the word, too.
    whole, half = np.array([signal_to_noise(samples, [first], [198]) for first in (101, 150)], np.float64)
    assert whole == pytest.approx(20, abs=0.5) and half < 7
    assert signal_to_noise(samples, [0], [292]) is None


def test_a_wrong_alignment_shows_in_both() -> None:
    samples, _ = say(TEXT)
    silence = np.random.default_rng(0).normal(0, 1e-3, 16_000).astype(np.float32)
    samples = np.concatenate([silence, samples, silence])
    right = alignment.build("sphinx").align("a", samples, TEXT)
    # All words but the last in the silence before.
    begin = [10 * number for number in range(6)]
    wrong = (begin, [*begin[1:], 300])
    unevenness = [duration_deviation(right.words, *spans) for spans in ((right.begin, right.end), wrong)]
    assert unevenness[0] < 0.6 < unevenness[1]
    spans = (right.begin, right.end), (begin, [*begin[1:], 60])
    of_right, of_wrong = np.array([signal_to_noise(samples, *each) for each in spans], np.float64)
    assert of_right > 20 > 0 > of_wrong
