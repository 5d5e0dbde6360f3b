"""Augmentation of training utterances: speed, gain, noise, masks (SpecAugment), mixtures (mixup).

Speed, gain and noise change the waveform, which a prepared corpus no longer has. Here they change its log-mel energies
(`fgcme.features.log_mel`): gain exactly; speed and noise closely, as the tests show by changing the waveform itself.
All random numbers come from the generator that is passed in.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from fgcme.audio import HOP, SAMPLE_RATE, WINDOW, frame_count
from fgcme.data.batch import Mixture
from fgcme.experiment import AugmentationSettings
from fgcme.features.log_mel import (
    HIGHEST_HERTZ,
    LOG_ENERGY_FLOOR,
    LOWEST_HERTZ,
    PRE_EMPHASIS,
    hertz_to_mel,
    log_mel,
    mel_bin_centres,
)

Frames = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

# One decibel as a difference of log energies.
_DECIBEL = np.log(10) / 10
_NOISE_SECONDS = 30
_NOISE_LEVEL = 0.1


class AlignedFrames(NamedTuple):
    """Log-mel frames of an utterance, [A, bins] float32, and the spans of its words, [W] each, end exclusive."""

    frames: Frames
    begin: Indices
    end: Indices


def changes_energies(settings: AugmentationSettings) -> bool:
    """Whether augmentation changes the log-mel energies: speed, gain or noise is on."""
    return bool(settings.speed or settings.gain_db or settings.noise)


def changes_frames(settings: AugmentationSettings) -> bool:
    """Whether augmentation changes the frames of an utterance: anything but mixup is on."""
    return changes_energies(settings) or bool(settings.time_masks or settings.frequency_masks)


def augment_energies(
    settings: AugmentationSettings, frames: Frames, begin: Indices, end: Indices, generator: np.random.Generator
) -> AlignedFrames:
    """Change speed, then gain, by random amounts within the settings; then, with some probability, add noise.

    Args:
        settings: the largest changes of speed and gain, the probability of noise, and the range of its SNR.
        frames: [A, bins] log-mel energies.
        begin: [W] first frame of each word.
        end: [W] frame after the last of each word.
        generator: source of all random numbers.
    """
    augmented = AlignedFrames(frames, begin, end)
    if settings.speed:
        augmented = change_speed(*augmented, generator.uniform(1 - settings.speed, 1 + settings.speed))
    frames = augmented.frames
    if settings.gain_db:
        frames = change_gain(frames, generator.uniform(-settings.gain_db, settings.gain_db))
    if settings.noise and generator.random() < settings.noise:
        lowest, highest = settings.snr_db
        noise = _repeat_to(white_noise(frames.shape[1]), len(frames))
        first = generator.integers(len(noise) - len(frames) + 1)
        frames = add_noise(frames, noise[first : first + len(frames)], generator.uniform(lowest, highest))
    return augmented._replace(frames=frames)


def change_speed(frames: Frames, begin: Indices, end: Indices, factor: float) -> AlignedFrames:
    """Log-mel energies of the waveform played `factor` times as fast, which also raises the voice.

    New frame j comes from old frame `factor` j + (`factor` - 1) WINDOW / (2 HOP), and the new bin around f Hz from
    f / `factor` Hz: both lie between old ones, and log energies are interpolated linearly. The new bin has the width
    and pre-emphasis of f, so its energy is corrected by the ratios of both. Slower speech has nothing above
    `factor` x HIGHEST_HERTZ: the share of a bin above it is filled with the recording's quietest energy in that bin.

    Args:
        frames: [A, bins] log-mel energies.
        begin: [W] first frame of each word.
        end: [W] frame after the last of each word.
        factor: above 1 is faster.

    Returns:
        As many frames as the new waveform has, at least one. A span that is not empty keeps at least one frame.
    """
    bins = frames.shape[1]
    count = max(frame_count(int((HOP * (len(frames) - 1) + WINDOW) / factor)), 1)
    old_frames = factor * np.arange(count, dtype=np.float64) + (factor - 1) * WINDOW / (2 * HOP)
    slowed = _interpolate(frames, old_frames, axis=0)
    hertz = _mel_to_hertz(mel_bin_centres(bins))
    old_bins = (hertz_to_mel(hertz / factor) - hertz_to_mel(LOWEST_HERTZ)) / _mel_spacing(bins) - 1
    shifted = _interpolate(slowed, old_bins, axis=1)
    shifted += _energy_correction(hertz, factor)
    if factor < 1:
        below = _share_below_edge(mel_bin_centres(bins), _mel_spacing(bins), factor).astype(np.float32)
        partly = np.flatnonzero(below < 1)
        energies = below[partly] * np.exp(shifted[:, partly])
        energies += (1 - below[partly]) * np.exp(frames[:, partly].min(0))
        shifted[:, partly] = np.log(energies)
    return AlignedFrames(
        np.maximum(shifted, np.float32(LOG_ENERGY_FLOOR), out=shifted), *_scale_spans(begin, end, factor, count)
    )


def change_gain(frames: Frames, decibels: float) -> Frames:
    """Log-mel energies of the waveform at another gain; exact.

    Energies at Kaldi's floor count as digital silence, which no gain makes louder.

    Args:
        frames: [A, bins] log-mel energies.
        decibels: above 0 is louder.
    """
    floor = np.float32(LOG_ENERGY_FLOOR)
    louder = frames + np.float32(decibels * _DECIBEL)
    np.maximum(louder, floor, out=louder)
    louder[frames <= floor] = floor
    return louder


def add_noise(frames: Frames, noise: Frames, snr_db: float) -> Frames:
    """Log-mel energies of the waveform with noise added, without the interference of the two.

    Energies are added: the mean for independent signals.

    Args:
        frames: [A, bins] log-mel energies of the utterance.
        noise: [A, bins] log-mel energies of the noise, at any level.
        snr_db: signal-to-noise ratio in dB: 10 log10 of the energy of the whole utterance, its pauses and own noise
            included, over that of the added noise. An energy is summed over all frames and bins with pre-emphasis
            undone, which is within half a dB of the ratio of the waveforms' energies.
    """
    energies, added = np.exp(frames), np.exp(noise)
    added *= np.float32(_waveform_energy(energies) / _waveform_energy(added) / 10 ** (snr_db / 10))
    energies += added
    np.log(energies, out=energies)
    return energies


@functools.cache
def white_noise(bins: int) -> Frames:
    """[A, bins] log-mel energies of 30 s of white Gaussian noise, always the same."""
    samples = np.random.default_rng(0).normal(0, _NOISE_LEVEL, _NOISE_SECONDS * SAMPLE_RATE)
    return log_mel(samples.astype(np.float32), bins)


def spec_augment(settings: AugmentationSettings, frames: Frames, blocks: int, generator: np.random.Generator) -> Frames:
    """Mask stretches of time and bands of values with the utterance's mean (Park et al., "SpecAugment", 2019).

    The width of each mask is random, from 0 to the settings' width, and so is its place.

    Args:
        settings: number and largest width of the masks.
        frames: [A, F] as the model reads them.
        blocks: number of blocks of F / blocks values each: the layers of an encoder, values and their deltas. A band is
            masked in each.
        generator: source of all random numbers.
    """
    masked = frames.copy().reshape(len(frames), blocks, -1)
    mean = frames.mean(0).reshape(blocks, -1)
    for _ in range(settings.time_masks):
        times = _draw_slice(len(masked), settings.time_width, generator)
        masked[times] = mean
    for _ in range(settings.frequency_masks):
        band = _draw_slice(masked.shape[2], settings.frequency_width, generator)
        masked[:, :, band] = mean[:, band]
    return masked.reshape(frames.shape)


def draw_mixture(mixup_alpha: float, count: int, generator: np.random.Generator) -> Mixture:
    """Pair each utterance of a batch with another, perhaps itself (Zhang et al., "mixup", 2018).

    Args:
        mixup_alpha: both parameters of the Beta distribution of each utterance's own share.
        count: utterances of the batch, B.
        generator: source of all random numbers.
    """
    partner = torch.from_numpy(generator.permutation(count))
    weight = torch.from_numpy(generator.beta(mixup_alpha, mixup_alpha, count).astype(np.float32))
    return Mixture(partner, weight)


def _interpolate(values: Frames, places: npt.NDArray[np.float64], axis: int) -> Frames:
    """Interpolate linearly between the rows (axis 0) or columns (axis 1) of a table; beyond an end, the end counts."""
    last = values.shape[axis] - 1
    places = np.clip(places, 0, last)
    before = np.minimum(places.astype(np.int64), max(last - 1, 0))
    share = np.expand_dims((places - before).astype(np.float32), 1 - axis)
    lower: Frames = values.take(before, axis)
    between: Frames = values.take(np.minimum(before + 1, last), axis)
    between -= lower
    between *= share
    between += lower
    return between


def _mel_spacing(bins: int) -> float:
    return float((hertz_to_mel(HIGHEST_HERTZ) - hertz_to_mel(LOWEST_HERTZ)) / (bins + 1))


def _mel_to_hertz(mels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(700 * np.expm1(mels / 1127))


def _energy_correction(hertz: npt.NDArray[np.float64], factor: float) -> npt.NDArray[np.float32]:
    """[bins] log ratio of the energy of a bin around `hertz` to that of the bin its content comes from.

    The width of a bin is proportional to 700 + f; content spread over `factor` times as many Hz has 1 / `factor` of the
    energy per Hz.
    """
    origin = np.minimum(hertz / factor, HIGHEST_HERTZ)
    width = np.log((700 + hertz) / (700 + hertz / factor) / factor)
    return np.asarray(width + np.log(_pre_emphasis_gain(hertz)) - np.log(_pre_emphasis_gain(origin)), np.float32)


def _pre_emphasis_gain(hertz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The factor by which pre-emphasis multiplies energy at some frequencies."""
    return np.asarray(np.abs(1 - PRE_EMPHASIS * np.exp(-2j * np.pi * hertz / SAMPLE_RATE)) ** 2)


def _share_below_edge(centre: npt.NDArray[np.float64], spacing: float, factor: float) -> npt.NDArray[np.float64]:
    """[bins] share of each bin's triangle below `factor` x HIGHEST_HERTZ."""
    edge = np.clip((hertz_to_mel(factor * HIGHEST_HERTZ) - centre) / spacing, -1, 1)
    return np.where(edge < 0, (1 + edge) ** 2 / 2, 1 - (1 - edge) ** 2 / 2)


def _scale_spans(begin: Indices, end: Indices, factor: float, count: int) -> tuple[Indices, Indices]:
    """Spans at another speed, within `count` frames; only empty spans become empty."""
    begin, end = np.asarray(begin, np.int64), np.asarray(end, np.int64)
    empty = end <= begin
    first = np.clip(np.rint(begin / factor).astype(np.int64), 0, np.where(empty, count, count - 1))
    last = np.clip(np.rint(end / factor).astype(np.int64), first + 1, count)
    return first, np.where(empty, first, last)


def _waveform_energy(energies: Frames) -> float:
    """Energy of the waveform, from the energies of its frames and bins, [A, bins]."""
    emphasis = _pre_emphasis_gain(_mel_to_hertz(mel_bin_centres(energies.shape[1])))
    return float((energies.sum(0, dtype=np.float64) / emphasis).sum())


def _repeat_to(noise: Frames, count: int) -> Frames:
    """Repeat noise until it has at least `count` frames."""
    return noise if len(noise) >= count else np.resize(noise, (count, noise.shape[1]))


def _draw_slice(count: int, width: int, generator: np.random.Generator) -> slice:
    """A random slice of `count` places, 0 to `width` long."""
    length = int(generator.integers(min(width, count) + 1))
    first = int(generator.integers(count - length + 1))
    return slice(first, first + length)
