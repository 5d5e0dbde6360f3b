"""Training utterances, varied: speed, level, noise, blanked stretches and bands (SpecAugment), mixtures.

Speed, level and noise belong to the waveform, which a prepared corpus no longer has. Here they are done to its log-mel
energies (`fgcme.features.log_mel`): level exactly, speed and noise so closely that the tests hold them against what the
same change of the waveform gives. Anything here is drawn from a generator that is handed in.
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

# Log energies for one decibel.
_DECIBEL = np.log(10) / 10
_NOISE_SECONDS = 30
_NOISE_LEVEL = 0.1


class AlignedFrames(NamedTuple):
    """Log-mel frames of an utterance, [A, bins] float32, and the spans of its words, [T] each, end exclusive."""

    frames: Frames
    begin: Indices
    end: Indices


def changes_energies(settings: AugmentationSettings) -> bool:
    """Whether anything is done to the log-mel energies."""
    return bool(settings.speed or settings.gain_db or settings.noise)


def changes_frames(settings: AugmentationSettings) -> bool:
    """Whether anything is done to the frames of an utterance."""
    return changes_energies(settings) or bool(settings.time_masks or settings.frequency_masks)


def augment_energies(
    settings: AugmentationSettings, frames: Frames, begin: Indices, end: Indices, generator: np.random.Generator
) -> AlignedFrames:
    """Change speed, then level, then add noise, each as much as is drawn for it.

    Args:
        settings: what is done, and how much at most.
        frames: [A, bins] log-mel energies.
        begin, end: [T] spans of the words.
        generator: what is drawn from.
    """
    varied = AlignedFrames(frames, begin, end)
    if settings.speed:
        varied = change_speed(*varied, generator.uniform(1 - settings.speed, 1 + settings.speed))
    frames = varied.frames
    if settings.gain_db:
        frames = change_gain(frames, generator.uniform(-settings.gain_db, settings.gain_db))
    if settings.noise and generator.random() < settings.noise:
        lowest, highest = settings.snr_db
        noise = _long_enough(white_noise(frames.shape[1]), len(frames))
        first = generator.integers(len(noise) - len(frames) + 1)
        frames = add_noise(frames, noise[first : first + len(frames)], generator.uniform(lowest, highest))
    return varied._replace(frames=frames)


def change_speed(frames: Frames, begin: Indices, end: Indices, factor: float) -> AlignedFrames:
    """What the utterance gives when its waveform is played so many times faster, higher voice and all.

    New frame j looks where old frame `factor` j + (`factor` - 1) WINDOW / (2 HOP) did, and the new bin around f Hz at
    what was around f / `factor` Hz: both lie between old ones, and log energies are interpolated linearly. A bin is as
    wide, and pre-emphasised as much, as it is at f, so its energy is put right by the ratios of both. Slower speech has
    nothing above `factor` x HIGHEST_HERTZ: as much of a bin as lies there holds what the recording holds there at its
    quietest.

    Args:
        frames: [A, bins] log-mel energies.
        begin, end: [T] spans of the words.
        factor: above 1 is faster.

    Returns:
        As many frames as the shorter or longer waveform has, at least one. A span that is not empty keeps a frame.
    """
    bins = frames.shape[1]
    count = max(frame_count(int((HOP * (len(frames) - 1) + WINDOW) / factor)), 1)
    instants = factor * np.arange(count, dtype=np.float64) + (factor - 1) * WINDOW / (2 * HOP)
    slowed = _interpolated(frames, instants, axis=0)
    hertz = _hertz(mel_bin_centres(bins))
    places = (hertz_to_mel(hertz / factor) - hertz_to_mel(LOWEST_HERTZ)) / _spacing(bins) - 1
    shifted = _interpolated(slowed, places, axis=1)
    shifted += _correction(hertz, factor)
    if factor < 1:
        filled = _filled(mel_bin_centres(bins), _spacing(bins), factor).astype(np.float32)
        partly = np.flatnonzero(filled < 1)
        energies = filled[partly] * np.exp(shifted[:, partly])
        energies += (1 - filled[partly]) * np.exp(frames[:, partly].min(0))
        shifted[:, partly] = np.log(energies)
    return AlignedFrames(
        np.maximum(shifted, np.float32(LOG_ENERGY_FLOOR), out=shifted), *_scaled(begin, end, factor, count)
    )


def change_gain(frames: Frames, decibels: float) -> Frames:
    """What the utterance gives when its waveform is louder by so many decibels; exact.

    Energies at Kaldi's floor are taken for digital silence, which no gain makes louder.

    Args:
        frames: [A, bins] log-mel energies.
        decibels: below 0 is quieter.
    """
    floor = np.float32(LOG_ENERGY_FLOOR)
    louder = frames + np.float32(decibels * _DECIBEL)
    np.maximum(louder, floor, out=louder)
    louder[frames <= floor] = floor
    return louder


def add_noise(frames: Frames, noise: Frames, snr_db: float) -> Frames:
    """What the utterance gives when noise is added to its waveform, but for the two's interference.

    Energies are added as those of independent signals are on average.

    Args:
        frames: [A, bins] log-mel energies of the utterance.
        noise: [A, bins] log-mel energies of the noise, at any level.
        ratio: signal-to-noise ratio in dB: 10 log10 of the energy of the whole utterance, its pauses and whatever noise
            it has of its own included, over that of the added noise. An energy is summed over all frames and bins with
            pre-emphasis undone, which is within half a dB of the ratio of the waveforms' energies.
    """
    energies, added = np.exp(frames), np.exp(noise)
    added *= np.float32(_energy(energies) / _energy(added) / 10 ** (snr_db / 10))
    energies += added
    np.log(energies, out=energies)
    return energies


@functools.cache
def white_noise(bins: int) -> Frames:
    """[A, bins] log-mel energies of 30 s of white Gaussian noise, always the same."""
    samples = np.random.default_rng(0).normal(0, _NOISE_LEVEL, _NOISE_SECONDS * SAMPLE_RATE)
    return log_mel(samples.astype(np.float32), bins)


def spec_augment(settings: AugmentationSettings, frames: Frames, blocks: int, generator: np.random.Generator) -> Frames:
    """Blank some stretches of time and bands of values to the utterance's mean, by Park et al. ("SpecAugment", 2019).

    Each is from 0 values wide to as many as the settings allow, and lies anywhere.

    Args:
        settings: how many, and how wide at most.
        frames: [A, F] as the model reads them.
        blocks: how many times the same values are there, one block beside the other: values and their deltas. A band is
            blanked in each.
        generator: what is drawn from.
    """
    blanked = frames.copy().reshape(len(frames), blocks, -1)
    mean = frames.mean(0).reshape(blocks, -1)
    for _ in range(settings.time_masks):
        at = _stretch(len(blanked), settings.time_width, generator)
        blanked[at] = mean
    for _ in range(settings.frequency_masks):
        at = _stretch(blanked.shape[2], settings.frequency_width, generator)
        blanked[:, :, at] = mean[:, at]
    return blanked.reshape(frames.shape)


def draw_mixture(concentration: float, count: int, generator: np.random.Generator) -> Mixture:
    """Pair each of `count` utterances with one of them, itself perhaps (Zhang et al., "mixup", 2018).

    Args:
        concentration: both parameters of the Beta distribution that each one's own share is drawn from.
        count: utterances.
        generator: what is drawn from.
    """
    partner = torch.from_numpy(generator.permutation(count))
    weight = torch.from_numpy(generator.beta(concentration, concentration, count).astype(np.float32))
    return Mixture(partner, weight)


def _interpolated(values: Frames, places: npt.NDArray[np.float64], axis: int) -> Frames:
    """Rows or columns of a table at places between them, linearly; beyond the ends, the end. A new table."""
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


def _spacing(bins: int) -> float:
    return float((hertz_to_mel(HIGHEST_HERTZ) - hertz_to_mel(LOWEST_HERTZ)) / (bins + 1))


def _hertz(mels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(700 * np.expm1(mels / 1127))


def _correction(hertz: npt.NDArray[np.float64], factor: float) -> npt.NDArray[np.float32]:
    """[bins] log of how much more energy a bin around `hertz` holds than the bin its content comes from did.

    A bin is as wide as mel(f) is flat, which goes with 700 + f; what is spread over `factor` times as many Hz is so
    much thinner.
    """
    origin = np.minimum(hertz / factor, HIGHEST_HERTZ)
    width = np.log((700 + hertz) / (700 + hertz / factor) / factor)
    return np.asarray(width + np.log(_emphasis(hertz)) - np.log(_emphasis(origin)), np.float32)


def _emphasis(hertz: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """What pre-emphasis multiplies an energy by."""
    return np.asarray(np.abs(1 - PRE_EMPHASIS * np.exp(-2j * np.pi * hertz / SAMPLE_RATE)) ** 2)


def _filled(centre: npt.NDArray[np.float64], spacing: float, factor: float) -> npt.NDArray[np.float64]:
    """[bins] share of each bin's triangle below `factor` x HIGHEST_HERTZ."""
    edge = np.clip((hertz_to_mel(factor * HIGHEST_HERTZ) - centre) / spacing, -1, 1)
    return np.where(edge < 0, (1 + edge) ** 2 / 2, 1 - (1 - edge) ** 2 / 2)


def _scaled(begin: Indices, end: Indices, factor: float, count: int) -> tuple[Indices, Indices]:
    """Spans at another speed, inside of so many frames; only an empty one is empty."""
    begin, end = np.asarray(begin, np.int64), np.asarray(end, np.int64)
    empty = end <= begin
    first = np.clip(np.rint(begin / factor).astype(np.int64), 0, np.where(empty, count, count - 1))
    last = np.clip(np.rint(end / factor).astype(np.int64), first + 1, count)
    return first, np.where(empty, first, last)


def _energy(energies: Frames) -> float:
    """Energy of an utterance in the waveform's terms, from those of its frames and bins, [A, bins]."""
    return float((energies.sum(0, dtype=np.float64) / _emphasis(_hertz(mel_bin_centres(energies.shape[1])))).sum())


def _long_enough(noise: Frames, count: int) -> Frames:
    """At least so many frames, over and over if need be."""
    return noise if len(noise) >= count else np.resize(noise, (count, noise.shape[1]))


def _stretch(count: int, width: int, generator: np.random.Generator) -> slice:
    """At most `width` of `count` places in a row."""
    length = int(generator.integers(min(width, count) + 1))
    first = int(generator.integers(count - length + 1))
    return slice(first, first + length)
