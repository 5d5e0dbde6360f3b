import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torchaudio import functional
from torchaudio.compliance import kaldi

from fgcme.data.front_end import (
    FrontEnd,
    cepstrum,
    delta,
    moments,
    moments_of_all,
    published_scale,
    standardise,
    with_deltas,
)
from fgcme.features.log_mel import log_mel
from tests.speech import say

INPUTS, DELTAS, NORMALISATIONS = ("prepared", "mfcc", "published"), (0, 1, 2), ("none", "train", "utterance", "speaker")


def speech(bins: int = 40) -> np.ndarray:
    return log_mel(say("The dogs are sitting by the door.")[0], bins)


@pytest.mark.parametrize("bins", [10, 23, 40])
def test_the_cepstrum_matches_kaldi(bins: int) -> None:
    samples = say("The dogs are sitting by the door.")[0]
    expected = kaldi.mfcc(
        torch.from_numpy(samples * np.float32(32_768)).unsqueeze(0),
        num_mel_bins=bins,
        num_ceps=min(bins, 13),
        cepstral_lifter=22.0,
        use_energy=False,
        dither=0.0,
        sample_frequency=16_000,
    )
    np.testing.assert_allclose(cepstrum(log_mel(samples, bins)), expected.numpy(), atol=2e-3)


def test_the_published_scale_is_that_of_a_waveform_in_minus_one_to_one_with_kaldi_s_floor() -> None:
    samples = np.concatenate([np.zeros(4_000, np.float32), say("The dogs are sitting by the door.")[0]])
    expected = kaldi.fbank(torch.from_numpy(samples).unsqueeze(0), num_mel_bins=40, dither=0.0, sample_frequency=16_000)
    scaled = published_scale(log_mel(samples, 40))
    np.testing.assert_allclose(scaled, expected.numpy(), atol=5e-3)
    assert scaled.min() == np.float32(-15.942385) and (scaled == scaled.min()).mean() > 0.1


def test_deltas_match_torchaudio() -> None:
    frames = speech()
    signal = torch.from_numpy(frames.T.copy())
    first = functional.compute_deltas(signal, win_length=5)
    second = functional.compute_deltas(first, win_length=5)
    expected = torch.cat([signal, first, second]).T.numpy()
    np.testing.assert_allclose(with_deltas(frames, 2), expected, atol=1e-4)


def test_a_delta_is_the_slope_with_the_ends_repeated() -> None:
    frames = np.array([[0], [1], [4], [9], [16], [25]], np.float32)
    # (1 (c[t+1] - c[t-1]) + 2 (c[t+2] - c[t-2])) / 10
    expected = [(1 + 2 * 4) / 10, (4 + 2 * 9) / 10, (8 + 2 * 16) / 10, (12 + 2 * 24) / 10]
    expected += [(16 + 2 * 21) / 10, (9 + 2 * 16) / 10]
    np.testing.assert_allclose(delta(frames).ravel(), expected, rtol=1e-6)
    assert delta(frames[:1]).tolist() == [[0.0]]


@pytest.mark.parametrize(("kind", "deltas", "normalisation"), itertools.product(INPUTS, DELTAS, NORMALISATIONS))
def test_the_frame_size_matches_the_frames(kind: str, deltas: int, normalisation: str) -> None:
    front_end = FrontEnd(kind, deltas, normalisation)  # type: ignore[arg-type]
    for count in (1, 2, 50):
        made = front_end(speech()[:count])
        assert made.shape == (count, front_end.size(40))
        assert made.dtype == np.float32
        assert np.isfinite(made).all()


@pytest.mark.parametrize("normalisation", ["none", "train"])
def test_unchanged_frames_are_not_copied(normalisation: str) -> None:
    frames = speech()
    front_end = FrontEnd(normalisation=normalisation)  # type: ignore[arg-type]
    assert front_end.keeps_prepared_frames
    assert front_end(frames) is frames


@pytest.mark.parametrize(("kind", "deltas", "normalisation"), itertools.product(INPUTS, DELTAS, NORMALISATIONS))
def test_a_front_end_keeps_prepared_frames_if_only_normalisation_by_speaker_is_left(
    kind: str, deltas: int, normalisation: str
) -> None:
    frames, front_end = speech(), FrontEnd(kind, deltas, normalisation)  # type: ignore[arg-type]
    without = front_end.without_speaker(frames)
    assert front_end.keeps_prepared_frames == (without is frames)
    np.testing.assert_array_equal(front_end.with_speaker(without, None), front_end(frames))


def test_normalising_by_utterance_gives_mean_0_and_deviation_1() -> None:
    made = FrontEnd("mfcc", 2, "utterance")(speech())
    np.testing.assert_allclose(made.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(made.std(0), 1, atol=1e-3)


def test_a_constant_value_becomes_0() -> None:
    frames = np.full((30, 4), -15.942385, np.float32)
    assert np.abs(standardise(frames, moments(frames))).max() < 1
    np.testing.assert_allclose(FrontEnd(normalisation="utterance")(np.zeros((30, 4), np.float32)), 0)


def each_alone(utterances: Sequence[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Blocks of one utterance each."""
    return [(frames, np.array([len(frames)])) for frames in utterances]


def test_normalising_by_speaker_uses_the_speaker_s_statistics_if_known() -> None:
    frames, front_end = speech(), FrontEnd("prepared", 1, "speaker")
    known = moments_of_all(each_alone([with_deltas(frames + 3, 1), with_deltas(frames - 3, 1)]))
    expected = (with_deltas(frames, 1) - known.mean) / known.deviation
    np.testing.assert_allclose(front_end(frames, known), expected, rtol=1e-5)
    # For an unknown speaker, the utterance's own.
    np.testing.assert_array_equal(front_end(frames), FrontEnd("prepared", 1, "utterance")(frames))


def test_moments_of_several_utterances_are_those_of_all_their_frames() -> None:
    utterances = [np.random.default_rng(seed).normal(-8, 2, (20 + seed, 5)).astype(np.float32) for seed in range(3)]
    mean, deviation = moments_of_all(each_alone(utterances))
    together = np.concatenate(utterances)
    np.testing.assert_allclose(mean, together.mean(0), rtol=1e-5)
    np.testing.assert_allclose(deviation, together.std(0), rtol=1e-4)
    assert mean.dtype == deviation.dtype == np.float32


def test_moments_are_the_same_to_the_last_bit_in_whatever_blocks_utterances_come() -> None:
    generator = np.random.default_rng(0)
    # So far from 0 that a rounding in another order shows in the deviation.
    utterances = [generator.normal(-1e5, 1, (count, 5)) for count in generator.integers(1, 400, 300)]
    total, squares = np.zeros(5), np.zeros(5)
    for frames in utterances:
        total, squares = total + frames.sum(0), squares + np.square(frames).sum(0)
    mean = total / sum(map(len, utterances))
    deviation = np.sqrt(squares / sum(map(len, utterances)) - mean**2)
    for size in (1, 7, 300):
        groups = [utterances[start : start + size] for start in range(0, 300, size)]
        made = moments_of_all((np.concatenate(group), np.array([len(each) for each in group])) for group in groups)
        np.testing.assert_array_equal(made.mean, mean.astype(np.float32))
        np.testing.assert_array_equal(made.deviation, deviation.astype(np.float32))
