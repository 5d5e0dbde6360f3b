"""From prepared frames to a model's frames: cepstrum, deltas, normalisation.

Training and prediction use the same code. Prepared frames stay as they are, so one prepared corpus serves all front
ends.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import sparse

from fgcme.features.contract import FrameArray
from fgcme.features.log_mel import LOG_ENERGY_FLOOR

Frames = npt.NDArray[np.float32]
Input = Literal["prepared", "mfcc", "published"]
Normalisation = Literal["none", "train", "utterance", "speaker"]

CEPSTRA = 13
"""Number of cepstral coefficients, the zeroth included: the envelope of the spectrum without its ripple.

Kaldi's default. All coefficients together would hold the same information as the mel bins.
"""

_LIFTER = 22
# ln(32768^2).
_FULL_SCALE = 2 * np.log(32_768)
_WINDOW = 2
# Smallest deviation, so that a constant value becomes 0.
_MIN_DEVIATION = 1e-5


class Moments(NamedTuple):
    """Mean and deviation of each value of a frame, both [F] float32; the deviation is above 0."""

    mean: Frames
    deviation: Frames


@dataclass(frozen=True)
class FrontEnd:
    """Turns prepared frames into the frames that a model reads.

    Attributes:
        input: `mfcc` for the cepstrum of log-mel frames, `published` for `published_scale` of them, `prepared` for the
            frames as they are.
        deltas: 1 appends delta, 2 delta and delta-delta.
        normalisation: `utterance` and `speaker` are done here, `train` by the model
            (`fgcme.model.encoders.Standardise`).
    """

    input: Input = "prepared"
    deltas: int = 0
    normalisation: Normalisation = "none"

    @property
    def keeps_prepared_frames(self) -> bool:
        """Whether `without_speaker` leaves frames as they are."""
        return self.input == "prepared" and not self.deltas and self.normalisation != "utterance"

    def size(self, frame_size: int) -> int:
        """Values of a frame, from those of a prepared frame.

        >>> FrontEnd(input="mfcc", deltas=2).size(40)
        39
        """
        return (1 + self.deltas) * (min(CEPSTRA, frame_size) if self.input == "mfcc" else frame_size)

    def features(self, frames: Frames) -> Frames:
        """Everything but the normalisation: [A, prepared] -> [A, self.size(prepared)]."""
        if self.input == "mfcc":
            frames = cepstrum(frames)
        elif self.input == "published":
            frames = published_scale(frames)
        return with_deltas(frames, self.deltas)

    def without_speaker(self, frames: FrameArray) -> FrameArray:
        """Everything that needs the utterance alone, [A, prepared] -> [A, self.size(prepared)], in the same precision.

        What all trainings share is kept in the precision of the prepared frames, so an answer reads it in no other.
        """
        if self.keeps_prepared_frames:
            return frames
        features = self.features(frames.astype(np.float32, copy=False))
        if self.normalisation == "utterance":
            features = standardise(features, moments(features))
        return features.astype(np.float16) if frames.dtype == np.float16 else features

    def with_speaker(self, features: FrameArray, speaker: Moments | None) -> Frames:
        """The rest: normalisation by speaker, of what `without_speaker` gave; see `__call__`."""
        values = features.astype(np.float32, copy=False)
        if self.normalisation != "speaker":
            return values
        return standardise(values, moments(values) if speaker is None else speaker)

    def __call__(self, frames: FrameArray, speaker: Moments | None = None) -> Frames:
        """Prepared frames as the model reads them, [A, prepared] -> [A, self.size(prepared)] float32.

        Args:
            frames: [A, prepared] of one utterance, at least one frame, in the precision in which they are prepared.
            speaker: moments of the speaker's `features` (normalisation: speaker). For an unknown speaker, the
                utterance's own moments are used.
        """
        return self.with_speaker(self.without_speaker(frames), speaker)


def published_scale(frames: Frames) -> Frames:
    """Log-mel energies as the published code of Li et al. (Interspeech 2021) has them, [A, bins] -> [A, bins].

    It gives Kaldi's filterbank a waveform in [-1, 1], not in the 16-bit range: energies are 32768^2 times smaller, and
    Kaldi's floor, float32's epsilon, cuts what is quieter; in recordings with silence that is a fifth of all values.
    """
    return np.asarray(np.maximum(frames - np.float32(_FULL_SCALE), np.float32(LOG_ENERGY_FLOOR)), np.float32)


def cepstrum(frames: Frames) -> Frames:
    """Mel-frequency cepstral coefficients as Kaldi computes them with `use_energy=false`.

    Args:
        frames: [A, bins] log-mel energies.

    Returns:
        [A, CEPSTRA], or [A, bins] where there are fewer bins.
    """
    return frames @ _cosines(frames.shape[1])


@functools.cache
def _cosines(bins: int) -> Frames:
    """[bins, cepstra] orthonormal DCT-II, liftered."""
    order = np.arange(min(CEPSTRA, bins))
    basis = np.sqrt(2 / bins) * np.cos(np.pi / bins * np.outer(np.arange(bins) + 0.5, order))
    basis[:, 0] = np.sqrt(1 / bins)
    return np.asarray(basis * (1 + _LIFTER / 2 * np.sin(np.pi * order / _LIFTER)), np.float32)


def with_deltas(frames: Frames, order: int) -> Frames:
    """Append deltas to frames.

    Args:
        frames: [A, F].
        order: 1 appends the deltas, 2 also the deltas of the deltas.

    Returns:
        [A, (1 + order) F], values first.

    >>> with_deltas(np.array([[0], [1], [2], [3], [4]], np.float32), 1)[2].tolist()
    [2.0, 1.0]
    """
    blocks = [frames]
    for _ in range(order):
        blocks.append(delta(blocks[-1]))
    return np.concatenate(blocks, axis=1) if order else frames


def delta(frames: Frames) -> Frames:
    """Slope of each value over two frames on either side, by regression; the first and last frame are repeated.

    As HTK and Kaldi define it (S. Young et al., The HTK Book, section "Delta, acceleration and third
    differential coefficients").

    Args:
        frames: [A, F].
    """
    count = len(frames)
    padded = np.concatenate([frames[:1]] * _WINDOW + [frames] + [frames[-1:]] * _WINDOW)
    steps = range(1, _WINDOW + 1)
    slope = sum(
        step * (padded[_WINDOW + step : _WINDOW + step + count] - padded[_WINDOW - step : _WINDOW - step + count])
        for step in steps
    )
    return np.asarray(slope / np.float32(2 * sum(step**2 for step in steps)), np.float32)


def moments(frames: Frames) -> Moments:
    """Mean and deviation of each value over one utterance, [A, F]."""
    return Moments(frames.mean(0), frames.std(0) + np.float32(_MIN_DEVIATION))


def moments_of_all(blocks: Iterable[tuple[Frames, np.ndarray]]) -> Moments:
    """Mean and deviation of each value over all frames of utterances; how they are put in blocks changes no bit.

    Each block has frames of whole utterances, end to end, [A, F], and how many each utterance has, [B]. There is at
    least one frame in all.
    """
    count, sums = 0, np.zeros((0, 0))
    for block, counts in blocks:
        frames = block.astype(np.float64)
        values = np.concatenate([frames, np.square(frames)], axis=1)
        # Adds up within each utterance, in order, as a loop would.
        ends = np.concatenate([[0], np.cumsum(counts)])
        adder = sparse.csr_array((np.ones(len(values)), np.arange(len(values)), ends), (len(counts), len(values)))
        sums = np.concatenate([sums.reshape(-1, values.shape[1]), adder @ values]).sum(0, keepdims=True)
        count += len(frames)
    mean, squares = np.split(sums[0] / count, 2)
    deviation = np.sqrt(np.maximum(squares - mean**2, _MIN_DEVIATION**2))
    return Moments(mean.astype(np.float32), deviation.astype(np.float32))


def standardise(frames: Frames, moments: Moments) -> Frames:
    """Subtract the mean from frames [A, F] and divide by the deviation."""
    return np.asarray((frames - moments.mean) / moments.deviation, np.float32)
