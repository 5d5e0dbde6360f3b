"""Endpoint detection: speech between silences, clicks and steady sounds."""

import numpy as np
import pytest

from fgcme.alignment.endpoints import detect_endpoints, frames_outside_long_pauses, samples_of
from fgcme.audio import HOP, WINDOW, frame_count
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


def test_the_middle_of_a_long_pause_is_taken_out() -> None:
    speech, _ = say("open the window before dinner please")
    generator = np.random.default_rng(0)
    short, long = (generator.normal(0, 1e-4, count).astype(np.float32) for count in (16_000, 10 * 16_000))
    samples = np.concatenate([speech, short, speech, long, speech, long])
    frames = frames_outside_long_pauses(samples)
    # Of each long pause about two of its ten seconds are left.
    assert frame_count(samples.size) - len(frames) == pytest.approx(2 * 800, abs=50)
    is_left = np.isin(np.arange(frame_count(samples.size)), frames)
    spoken = 2 * speech.size + short.size
    assert is_left[: spoken // HOP].all() and is_left[(spoken + long.size) // HOP :][: speech.size // HOP].all()


def test_without_long_pauses_every_frame_is_left() -> None:
    speech, _ = say("open the window before dinner please")
    assert frames_outside_long_pauses(speech).tolist() == list(range(frame_count(speech.size)))


def test_frames_are_heard_one_after_the_other_each_with_its_own_samples() -> None:
    samples = np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    frames = np.array([3, 4, 5, 40, 41, 97])
    heard = samples_of(samples, frames)
    assert frame_count(heard.size) == len(frames)
    for place, frame in enumerate(frames):
        assert np.array_equal(heard[place * HOP :][:HOP], samples[frame * HOP :][:HOP])
    # The last frame is whole.
    assert np.array_equal(heard[5 * HOP :], samples[97 * HOP :][:WINDOW])


def test_frames_that_follow_each_other_are_not_copied() -> None:
    samples = np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    heard = samples_of(samples, np.arange(10, 60))
    assert np.shares_memory(heard, samples) and np.array_equal(heard, samples[10 * HOP : 59 * HOP + WINDOW])
