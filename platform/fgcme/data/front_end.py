"""What a model makes of prepared frames before it reads them: cepstrum, deltas, normalisation.

The same on the way to training and to a prediction. Prepared frames stay as they are, so one prepared corpus serves all
front ends.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Frames = npt.NDArray[np.float32]
Input = Literal["prepared", "mfcc"]
Normalisation = Literal["none", "train", "utterance", "speaker"]

CEPSTRA = 13
"""Coefficients of the cepstrum that are kept, the zeroth included: the envelope of the spectrum without its ripple.

The custom of speech recognition and Kaldi's default. All of them would be the mel bins again, seen from another side.
"""

_LIFTER = 22
_WINDOW = 2
# What stands for a deviation of nothing, so that a value that never changes becomes 0.
_LEAST_DEVIATION = 1e-5


class Moments(NamedTuple):
    """Mean and deviation of each value of a frame, both [F] float32; the deviation is above 0."""

    mean: Frames
    deviation: Frames


@dataclass(frozen=True)
class FrontEnd:
    """How prepared frames become what a model reads.

    Attributes:
        input: `mfcc` for the cepstrum of log-mel frames, `prepared` for the frames as they are.
        deltas: 1 appends delta, 2 delta and delta-delta.
        normalisation: `utterance` and `speaker` are done here; `train` is the model's own business, see
            `fgcme.model.encoders.Standardise`.
    """

    input: Input = "prepared"
    deltas: int = 0
    normalisation: Normalisation = "none"

    @property
    def is_identity(self) -> bool:
        """Whether frames pass as they are."""
        return self.input == "prepared" and not self.deltas and self.normalisation in ("none", "train")

    def size(self, frame_size: int) -> int:
        """Values of a frame, from those of a prepared frame.

        >>> FrontEnd(input="mfcc", deltas=2).size(40)
        39
        """
        return (1 + self.deltas) * (min(CEPSTRA, frame_size) if self.input == "mfcc" else frame_size)

    def features(self, frames: Frames) -> Frames:
        """Everything but the normalisation: [A, prepared] -> [A, self.size(prepared)]."""
        return with_deltas(cepstrum(frames) if self.input == "mfcc" else frames, self.deltas)

    def __call__(self, frames: Frames, speaker: Moments | None = None) -> Frames:
        """Prepared frames as the model reads them, [A, prepared] -> [A, self.size(prepared)].

        Args:
            frames: of one utterance, at least one.
            speaker: moments of the speaker's `features` (normalisation: speaker). Those of the utterance stand in for a
                speaker who is not known.
        """
        features = self.features(frames)
        if self.normalisation == "utterance" or (self.normalisation == "speaker" and speaker is None):
            return standardise(features, moments(features))
        if self.normalisation == "speaker" and speaker is not None:
            return standardise(features, speaker)
        return features


def cepstrum(frames: Frames) -> Frames:
    """Mel-frequency cepstral coefficients as Kaldi computes them, without its energy in place of the zeroth.

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
    """[A, F] frames with their first `order` deltas beside them, [A, (1 + order) F].

    >>> with_deltas(np.array([[0], [1], [2], [3], [4]], np.float32), 1)[2].tolist()
    [2.0, 1.0]
    """
    parts = [frames]
    for _ in range(order):
        parts.append(delta(parts[-1]))
    return np.concatenate(parts, axis=1) if order else frames


def delta(frames: Frames) -> Frames:
    """Slope of each value over two frames on either side, by regression; the first and last frame go on beyond the end.

    The definition of HTK and Kaldi (S. Young et al., The HTK Book, section "Delta, acceleration and third
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
    return Moments(frames.mean(0), frames.std(0) + np.float32(_LEAST_DEVIATION))


def moments_of_all(utterances: Iterable[Frames]) -> Moments:
    """Mean and deviation of each value over all frames of some utterances, at least one frame altogether."""
    count, total, squares = 0, np.zeros(1), np.zeros(1)
    for utterance in utterances:
        frames = utterance.astype(np.float64)
        total = total + frames.sum(0)
        squares = squares + np.square(frames).sum(0)
        count += len(frames)
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, _LEAST_DEVIATION**2))
    return Moments(mean.astype(np.float32), deviation.astype(np.float32))


def standardise(frames: Frames, moments: Moments) -> Frames:
    """Frames [A, F] less a mean, over a deviation."""
    return np.asarray((frames - moments.mean) / moments.deviation, np.float32)
