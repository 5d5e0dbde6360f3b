"""What speaks for or against an alignment without the truth: how evenly its words last, and where the sound is.

Both hold for every method, where scores are comparable within one only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fgcme.alignment.endpoints import frame_decibels
from fgcme.audio import Samples

# Frames outside the words that their background is taken from, a tenth of a second.
_FEWEST = 10
# A frame of 25 ms next to a word hears some of it.
_REACH = 2


def duration_deviation(words: Sequence[str], begin: Sequence[int], end: Sequence[int]) -> float:
    """How unevenly the words last: the standard deviation of the logarithm of their frames for each letter.

    The tempo of the whole does not count. Carefully labelled speech has 0.2 to 0.5 (EMO-DB); words that are squeezed
    into a frame or drawn over a pause raise it.

    Args:
        words: [W] at least one.
        begin: [W] first frame of 10 ms of each.
        end: [W] the frame after its last.

    >>> duration_deviation(["door", "by"], [0, 40], [40, 60])
    0.0
    >>> round(duration_deviation(["door", "by"], [0, 59], [59, 60]), 2)
    1.69
    """
    frames = np.maximum(np.subtract(end, begin), 1)
    return float(np.log(frames / np.array([len(word) for word in words])).std())


def signal_to_noise(samples: Samples, begin: Sequence[int], end: Sequence[int]) -> float | None:
    """How much louder the words are than what surrounds them, in decibels; None where nothing surrounds them.

    Speech that an alignment leaves outside the words lowers it as noise does.

    Args:
        samples: [samples] mono at 16 kHz, of the utterance.
        begin: [W] first frame of 10 ms of each word.
        end: [W] the frame after its last.
    """
    power = 10 ** (frame_decibels(samples) / 10)
    spoken, near = np.zeros(power.size, np.bool_), np.zeros(power.size, np.bool_)
    for first, last in zip(begin, end, strict=True):
        spoken[first:last] = True
        near[max(first - _REACH, 0) : last + _REACH] = True
    if not spoken.any() or power.size - near.sum() < _FEWEST:
        return None
    return float(10 * np.log10(power[spoken].mean() / power[~near].mean()))
