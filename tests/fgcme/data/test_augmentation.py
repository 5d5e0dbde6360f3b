"""Changes of log-mel energies, compared with the same changes of the waveform."""

import functools

import numpy as np
import numpy.typing as npt
import pytest
from scipy.signal import resample

from fgcme.audio import HOP, WINDOW
from fgcme.data.augmentation import (
    add_noise,
    augment_energies,
    change_gain,
    change_speed,
    changes_energies,
    changes_frames,
    draw_mixture,
    spec_augment,
    white_noise,
)
from fgcme.experiment import AugmentationSettings
from fgcme.features.log_mel import LOG_ENERGY_FLOOR, log_mel
from tests.speech import say

TEXT = "The dogs are sitting by the door, and the kids are talking about it."
NO_SPANS = np.zeros(0, np.int64)

Samples = npt.NDArray[np.float32]


@functools.cache
def recording() -> Samples:
    """Speech with the noise of 16-bit rounding."""
    samples = 0.3 * say(TEXT)[0] / np.abs(say(TEXT)[0]).max()
    return (samples + np.random.default_rng(0).normal(0, 1 / 32_768, len(samples))).astype(np.float32)


def play(samples: Samples, factor: float) -> Samples:
    """Samples played `factor` times as fast and rounded to 16 bits."""
    resampled = resample(samples.astype(np.float64), round(len(samples) / factor))
    return (np.round(resampled * 32_768) / 32_768).astype(np.float32)


def error(found: npt.NDArray[np.float32], truth: npt.NDArray[np.float32]) -> float:
    """Mean absolute difference of log energies over common frames."""
    count = min(len(found), len(truth))
    return float(np.abs(found[:count] - truth[:count]).mean())


def spans(count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Long words, words of one frame, empty, overlapping, and at either end."""
    begin = np.array([0, 10, 40, 41, 60, 80, count - 1, count])
    end = np.array([10, 40, 41, 60, 60, 100, count, count])
    return begin, end


@pytest.mark.parametrize("factor", [0.8, 0.9, 0.95, 1.05, 1.1, 1.25])
def test_speed_matches_a_change_of_the_waveform(factor: float) -> None:
    frames = log_mel(recording())
    truth = log_mel(play(recording(), factor))
    changed = change_speed(frames, NO_SPANS, NO_SPANS, factor).frames
    assert abs(len(changed) - len(truth)) <= 1
    found = error(changed, truth)
    in_time = np.clip(np.rint(factor * np.arange(len(truth))), 0, len(frames) - 1).astype(int)
    # Half a neper is 2 dB: narrow bins hold one harmonic or none, which interpolation cannot know.
    assert found < 0.55
    assert found < 0.15 * error(frames, truth)
    assert found < 0.45 * error(frames[in_time], truth)
    # No bin is wrong throughout, except the lowest, with the window's leakage, and the one at the edge of silence.
    count = min(len(changed), len(truth))
    off = np.abs((changed[:count] - truth[:count]).mean(0))
    assert np.sort(off)[-3] < 0.4


@pytest.mark.parametrize("factor", [0.9, 1.1])
@pytest.mark.parametrize("hertz", [300, 1_000, 3_000])
def test_a_faster_voice_is_a_higher_voice(factor: float, hertz: float) -> None:
    def height(frames: npt.NDArray[np.float32]) -> float:
        """The bin at the centre of gravity."""
        energies = np.exp(frames).mean(0)
        return float(energies @ np.arange(len(energies)) / energies.sum())

    def tone(hertz: float) -> npt.NDArray[np.float32]:
        return log_mel((0.3 * np.sin(2 * np.pi * hertz * np.arange(16_000) / 16_000)).astype(np.float32))

    changed = change_speed(tone(hertz), NO_SPANS, NO_SPANS, factor).frames
    step = height(tone(factor * hertz)) - height(tone(hertz))
    assert abs(step) > 0.3
    assert abs(height(changed) - height(tone(hertz)) - step) < 0.2


def test_a_speed_of_1_changes_nothing() -> None:
    frames = log_mel(recording())
    begin, end = spans(len(frames))
    changed = change_speed(frames, begin, end, 1.0)
    np.testing.assert_allclose(changed.frames, frames, atol=1e-4)
    assert changed.begin.tolist() == begin.tolist() and changed.end.tolist() == end.tolist()


@pytest.mark.parametrize("factor", [0.01, 0.5, 0.87, 0.99, 1.01, 1.13, 1.4, 1.99])
@pytest.mark.parametrize("count", [102, 103, 400])
def test_word_spans_scale_with_the_speed_and_none_is_lost(factor: float, count: int) -> None:
    begin, end = spans(count)
    changed = change_speed(np.zeros((count, 23), np.float32), begin, end, factor)
    made = len(changed.frames)
    assert np.isfinite(changed.frames).all()
    assert (changed.begin >= 0).all() and (changed.end <= made).all()
    assert ((changed.end > changed.begin) == (end > begin)).all()
    assert (changed.end >= changed.begin).all()
    # Rounding, the frame that a short word keeps, and the end of the recording.
    assert (np.abs(changed.begin - begin / factor) <= 1.5 + 3 / factor).all()
    assert (np.abs(changed.end - end / factor) <= 1.5 + 3 / factor).all()


@pytest.mark.parametrize("count", [1, 2])
def test_recordings_of_one_or_two_frames_can_change_speed(count: int) -> None:
    for factor in (0.5, 1.9):
        changed = change_speed(np.full((count, 40), 3, np.float32), np.array([0]), np.array([count]), factor)
        assert np.isfinite(changed.frames).all()
        assert changed.begin.tolist() == [0]
        assert 1 <= changed.end[0] <= len(changed.frames)


@pytest.mark.parametrize("decibels", [-30.0, -6.0, 3.0, 20.0])
def test_gain_matches_a_change_of_the_waveform_exactly(decibels: float) -> None:
    samples = recording().copy()
    samples[8_000:12_000] = 0
    assert log_mel(samples).min() == np.float32(LOG_ENERGY_FLOOR)
    truth = log_mel((samples * 10 ** (decibels / 20)).astype(np.float32))
    np.testing.assert_allclose(change_gain(log_mel(samples), decibels), truth, atol=1e-3)


def test_no_energy_falls_below_the_floor() -> None:
    assert change_gain(log_mel(recording()), -200).min() == np.float32(LOG_ENERGY_FLOOR)


@pytest.mark.parametrize("ratio", [0.0, 10.0, 20.0])
def test_noise_matches_noise_added_to_the_waveform(ratio: float) -> None:
    samples = recording()
    noise = np.random.default_rng(1).normal(0, 1, len(samples))
    noise *= np.sqrt(np.square(samples).sum() / np.square(noise).sum()) * 10 ** (-ratio / 20)
    frames, truth = log_mel(samples), log_mel((samples + noise).astype(np.float32))
    same = add_noise(frames, log_mel(noise.astype(np.float32)), ratio)
    # The rest is the interference of the two, and half a decibel between the two definitions of the ratio.
    assert error(same, truth) < 0.2
    assert error(same, truth) < 0.1 * error(frames, truth)
    # Other noise is equally loud in every bin, but not in every frame.
    other = add_noise(frames, white_noise(40)[: len(frames)], ratio)
    assert np.abs((other - truth).mean(0)).max() < 0.35
    assert error(other, truth) < 0.3 * error(frames, truth)


def test_noise_only_adds_energy_and_fills_silence() -> None:
    frames = np.full((50, 40), LOG_ENERGY_FLOOR, np.float32)
    frames[:25] = 10
    added = add_noise(frames, white_noise(40)[:50], 10)
    assert (added >= frames).all()
    assert added[25:].min() > 0


def test_the_noise_is_white_and_always_the_same() -> None:
    first = white_noise(23).copy()
    white_noise.cache_clear()
    np.testing.assert_array_equal(white_noise(23), first)
    expected = log_mel(np.random.default_rng(9).normal(0, 0.1, 160_000).astype(np.float32), 23)
    np.testing.assert_allclose(np.exp(first).mean(0) / np.exp(expected).mean(0), 1, atol=0.15)


def test_noise_is_repeated_for_a_longer_recording() -> None:
    frames = np.full((len(white_noise(23)) + 500, 23), LOG_ENERGY_FLOOR, np.float32)
    frames[:9] = 10
    varied = augment_energies(AugmentationSettings(noise=1), frames, NO_SPANS, NO_SPANS, np.random.default_rng(0))
    assert varied.frames[9:].min() > LOG_ENERGY_FLOOR + 1


def test_by_default_nothing_changes_and_no_random_number_is_drawn() -> None:
    settings = AugmentationSettings()
    assert not changes_frames(settings) and not changes_energies(settings)
    frames, generator = log_mel(recording()), np.random.default_rng(0)
    varied = augment_energies(settings, frames, *spans(len(frames)), generator)
    assert varied.frames is frames
    assert generator.random() == np.random.default_rng(0).random()


def test_random_changes_stay_within_the_settings() -> None:
    frames = log_mel(recording())
    generator = np.random.default_rng(0)

    def vary(settings: AugmentationSettings) -> npt.NDArray[np.float32]:
        return augment_energies(settings, frames, NO_SPANS, NO_SPANS, generator).frames

    counts = np.array([len(vary(AugmentationSettings(speed=0.2))) for _ in range(60)]) / len(frames)
    assert 1 / 1.2 - 0.01 <= counts.min() < 0.9 and 1.1 < counts.max() <= 1 / 0.8 + 0.01
    gains = np.array([(vary(AugmentationSettings(gain_db=6)) - frames).max() for _ in range(60)]) * 10 / np.log(10)
    assert -6 <= gains.min() < -4 and 4 < gains.max() <= 6
    noisy = [vary(AugmentationSettings(noise=0.3)) is not frames for _ in range(200)]
    assert 0.2 < np.mean(noisy) < 0.4
    levels = [vary(AugmentationSettings(noise=1, snr_db=[ratio, ratio])).mean() for ratio in (20, 5)]
    assert levels[0] < levels[1]


def test_masked_frames_and_bands_hold_the_mean_and_the_rest_stays() -> None:
    frames = np.random.default_rng(0).normal(2, 3, (80, 30)).astype(np.float32)
    settings = AugmentationSettings(time_masks=2, time_width=10, frequency_masks=1, frequency_width=4)
    seen = set()
    for seed in range(50):
        masked = spec_augment(settings, frames, 3, np.random.default_rng(seed))
        changed = masked != frames
        rows, bands = changed.all(1), changed.all(0)
        assert changed[~rows][:, ~bands].sum() == 0
        assert rows.sum() <= 20
        # The same band in values, deltas and second deltas.
        blocks = bands.reshape(3, 10)
        assert blocks[0].sum() <= 4
        assert (blocks == blocks[0]).all()
        np.testing.assert_allclose(masked[changed], np.broadcast_to(frames.mean(0), frames.shape)[changed], rtol=1e-5)
        seen.add((int(rows.sum()), int(blocks[0].sum())))
    assert len(seen) > 20
    # Two masks in time, one band, and every width from 0 to the widest.
    assert max(rows for rows, _ in seen) > 10
    assert {band for _, band in seen} == set(range(5))
    assert (frames == np.random.default_rng(0).normal(2, 3, (80, 30)).astype(np.float32)).all()


def test_masks_may_be_wider_than_the_utterance() -> None:
    settings = AugmentationSettings(time_masks=3, time_width=500, frequency_masks=3, frequency_width=500)
    frames = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    for seed in range(20):
        assert np.isfinite(spec_augment(settings, frames, 1, np.random.default_rng(seed))).all()


def test_a_mixture_pairs_every_utterance_once_with_its_own_beta_weight() -> None:
    mixed = draw_mixture(0.2, 400, np.random.default_rng(0))
    assert sorted(mixed.partner.tolist()) == list(range(400))
    weights = mixed.weight.numpy()
    assert weights.dtype == np.float32
    assert (weights >= 0).all() and (weights <= 1).all()
    assert abs(weights.mean() - 0.5) < 0.1
    # Beta(0.2, 0.2) is mostly near either end, Beta(20, 20) in the middle.
    assert ((weights < 0.1) | (weights > 0.9)).mean() > 0.6
    assert np.abs(draw_mixture(20, 400, np.random.default_rng(0)).weight.numpy() - 0.5).max() < 0.4


def test_ten_decibels_more_are_a_tenth_of_the_noise() -> None:
    frames = log_mel(recording())
    noise = white_noise(40)[: len(frames)]
    energies = np.exp(frames.astype(np.float64))
    # Where the recording is quiet, float32 tells the added energy.
    noisy = [add_noise(frames, noise, ratio).astype(np.float64) for ratio in (0, 10, 30)]
    loud, soft, softer = (np.exp(each) - energies for each in noisy)
    quiet = energies < 10 * softer
    assert quiet.sum() > 1000
    np.testing.assert_allclose(loud[quiet] / soft[quiet], 10, rtol=1e-2)
    np.testing.assert_allclose(soft[quiet] / softer[quiet], 100, rtol=1e-2)


@pytest.mark.parametrize("factor", [0.8, 1.3])
def test_a_new_frame_is_what_was_around_its_moment_at_the_old_speed(factor: float) -> None:
    def middles(count: int) -> npt.NDArray[np.float64]:
        """The middle of each frame's window, in thousands of samples."""
        return (HOP * np.arange(count) + WINDOW / 2) / 1000

    # Frames that tell their moment; what the change of pitch adds is the same for all.
    rising = np.repeat(middles(200)[:, None], 23, axis=1).astype(np.float32)
    changed = change_speed(rising, NO_SPANS, NO_SPANS, factor).frames
    changed = changed - change_speed(np.zeros_like(rising), NO_SPANS, NO_SPANS, factor).frames
    expected = np.clip(factor * middles(len(changed)), rising[0, 0], rising[-1, 0])
    # Higher bins of slower speech are filled with silence.
    np.testing.assert_allclose(changed[:, :10], np.repeat(expected[:, None], 10, axis=1), atol=1e-3)


def with_noise(lowest: float, highest: float) -> list[npt.NDArray[np.float64]]:
    """What noise adds to the energies of silence at a signal-to-noise ratio between two, by 20 generators."""
    frames = np.full((60, 23), LOG_ENERGY_FLOOR, np.float32)
    frames[:5] = 10
    settings = AugmentationSettings(noise=1, snr_db=(lowest, highest))
    generators = map(np.random.default_rng, range(20))
    varied = [augment_energies(settings, frames, NO_SPANS, NO_SPANS, generator).frames for generator in generators]
    return [np.exp(each[5:].astype(np.float64)) for each in varied]


def test_the_ratio_of_noise_is_any_of_its_range() -> None:
    decibels = [10 * np.log10(energies.mean()) for energies in with_noise(0, 30)]
    loudest, softest = (10 * np.log10(np.mean(with_noise(ratio, ratio))) for ratio in (0, 30))
    assert all(softest - 1 < level < loudest + 1 for level in decibels)
    assert min(decibels) < softest + 8 and max(decibels) > loudest - 8


def test_the_noise_is_of_another_moment_for_each_utterance() -> None:
    first, *others = (energies / energies.mean() for energies in with_noise(10, 10))
    assert all(np.abs(np.log(other / first)).mean() > 0.1 for other in others)
