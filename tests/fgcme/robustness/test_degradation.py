"""Recordings are made worse as the names of the conditions say, and stay as long as they were."""

from __future__ import annotations

import numpy as np
import pytest

from fgcme.audio import SAMPLE_RATE, Samples
from fgcme.robustness.degradation import DEGRADATIONS, add_noise, through_mp3, through_telephone, with_gain


def tone(frequency: float, level: float = 0.3, seconds: float = 0.5) -> Samples:
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.asarray(level * np.sin(2 * np.pi * frequency * time), np.float32)


def power(samples: Samples) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64)))


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_every_degradation_keeps_the_length_and_changes_the_sound(name: str) -> None:
    samples = tone(440, 0.5)
    degraded = DEGRADATIONS[name](samples, generator())
    assert degraded.shape == samples.shape and degraded.dtype == np.float32
    assert np.isfinite(degraded).all() and np.abs(degraded - samples).max() > 0.001
    assert np.array_equal(degraded, DEGRADATIONS[name](samples, generator()))


@pytest.mark.parametrize("ratio", [20, 5])
def test_noise_has_the_ratio_to_the_recording(ratio: float) -> None:
    samples = tone(440)
    noise = add_noise(samples, generator(), ratio) - samples
    assert 10 * np.log10(power(samples) / power(noise)) == pytest.approx(ratio, abs=0.3)


def test_a_telephone_lets_only_its_band_through() -> None:
    def passed(frequency: float) -> float:
        return power(through_telephone(tone(frequency), generator())) / power(tone(frequency))

    assert passed(1000) > 0.9
    assert passed(100) < 0.01 and passed(5000) < 0.01


def test_mp3_stays_close_to_the_recording_and_in_time_with_it() -> None:
    noise = (0.1 * generator().standard_normal(SAMPLE_RATE)).astype(np.float32)
    clicks = np.where(np.arange(SAMPLE_RATE) % 8000 < 400, noise * 5, 0).astype(np.float32)
    decoded = through_mp3(clicks, generator())
    lags = range(-600, 601, 20)
    best = max(lags, key=lambda lag: float(np.dot(clicks[1000:14000], decoded[1000 + lag : 14000 + lag])))
    assert abs(best) <= 20
    assert not np.allclose(decoded, clicks, atol=0.01)


def test_gain_is_in_decibels_and_clips_at_full_scale() -> None:
    samples = tone(440)
    assert power(with_gain(samples, generator(), -12)) / power(samples) == pytest.approx(10**-1.2, rel=1e-3)
    assert np.abs(with_gain(samples, generator(), 12)).max() == 1
