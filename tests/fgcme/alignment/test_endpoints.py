"""Endpoint detection: speech between silences, clicks and steady sounds."""

import numpy as np
import pytest

from fgcme.alignment.endpoints import detect_endpoints
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
