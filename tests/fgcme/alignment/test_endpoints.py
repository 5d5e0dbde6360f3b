"""Endpoint detection: speech between silences, clicks and steady sounds."""

import numpy as np
import pytest

from fgcme.alignment.endpoints import detect_endpoints, without_long_pauses
from fgcme.audio import HOP, frame_count
from tests.speech import say


@pytest.mark.parametrize("gain", [1.0, 0.01])
def test_speech_is_found_between_silences_at_any_level(gain: float) -> None:
    speech, _ = say("open the window before dinner please")
    noise = np.random.default_rng(0).normal(0, 1e-4, 16_000).astype(np.float32)
    first, last = detect_endpoints(gain * np.concatenate([noise, speech, noise]))
    assert 90 <= first <= 125
    assert 90 + speech.size // 160 - 60 <= last <= 105 + speech.size // 160


def test_a_click_is_not_speech() -> None:
    speech, _ = say("open the window")
    silence = np.zeros(16_000, np.float32)
    click = silence.copy()
    click[4_000:4_080] = 0.9
    assert detect_endpoints(np.concatenate([click, speech])) == detect_endpoints(np.concatenate([silence, speech]))


def test_a_steady_sound_counts_as_speech_throughout() -> None:
    assert detect_endpoints(np.full(16_000, 0.1, np.float32)) == (0, 98)


def test_the_middle_of_a_long_pause_is_taken_out_and_each_frame_knows_its_place() -> None:
    speech, _ = say("open the window before dinner please")
    generator = np.random.default_rng(0)
    short, long = (generator.normal(0, 1e-4, count).astype(np.float32) for count in (16_000, 10 * 16_000))
    samples = np.concatenate([speech, short, speech, long, speech, long])
    left, frames = without_long_pauses(samples)
    # Of each long pause about two of its ten seconds are left.
    assert samples.size - left.size == pytest.approx(2 * 8 * 16_000, abs=8_000)
    assert len(frames) == frame_count(left.size) and (np.diff(frames) > 0).all()
    for place in (0, len(frames) // 2, len(frames) - 200):
        assert np.array_equal(left[place * HOP :][:HOP], samples[frames[place] * HOP :][:HOP])


def test_without_long_pauses_a_recording_is_left_as_it_is() -> None:
    speech, _ = say("open the window before dinner please")
    left, frames = without_long_pauses(speech)
    assert left is speech and frames.tolist() == list(range(frame_count(speech.size)))
