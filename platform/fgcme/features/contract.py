"""The contract of everything that turns speech into frames, or words into vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fgcme.audio import HOP, Samples

FrameArray = npt.NDArray[np.float32] | npt.NDArray[np.float16]


@dataclass(frozen=True)
class FrameFormat:
    """What frames are like.

    Attributes:
        frame_step: samples from one frame to the next.
        layers: how many layers of an encoder lie side by side in a frame.
    """

    frame_step: int = HOP
    layers: int = 1


class Frames(NamedTuple):
    """The frames of one recording, as they are stored.

    Attributes:
        values: [A, F] float32, or float16 of a speech encoder.
        clipped: how many values lay beyond the range of float16 and are at its limit now.
    """

    values: FrameArray
    clipped: int = 0


class FrameExtractor(Protocol):
    """Turns recordings into frames."""

    @property
    def format(self) -> FrameFormat:
        """What its frames are like."""
        ...

    def __call__(self, recordings: Sequence[Samples]) -> list[Frames]:
        """The frames of each recording ([samples] mono at 16 kHz, at least one window of 25 ms).

        The frames of a recording do not depend on the others; on a GPU but for rounding.
        """
        ...


class WordFeatures(NamedTuple):
    """What a text encoder says of the words of one utterance, as it is stored.

    Attributes:
        values: [W, D] float16, its layers side by side; zeros of a word of which it says nothing.
        empty: how many words have no piece, as those of characters that the encoder ignores.
        cut: how many lie beyond the pieces that the encoder can read.
        clipped: how many values lay beyond the range of float16 and are at its limit now.
    """

    values: FrameArray
    empty: int = 0
    cut: int = 0
    clipped: int = 0


class WordEncoder(Protocol):
    """Turns words into vectors."""

    def __call__(self, utterances: Sequence[Sequence[str]]) -> list[WordFeatures]:
        """Vectors of the words of each utterance, which depend on its other words alone; on a GPU but for rounding."""
        ...


class OneByOne:
    """Extracts frames from one recording after the other.

    Args:
        extract: from samples to frames, [A, F] float32.
        frame_format: what its frames are like.
    """

    def __init__(self, extract: Callable[[Samples], npt.NDArray[np.float32]], frame_format: FrameFormat) -> None:
        self._extract = extract
        self.format = frame_format

    def __call__(self, recordings: Sequence[Samples]) -> list[Frames]:
        """See `FrameExtractor`."""
        return [Frames(self._extract(samples)) for samples in recordings]


def to_half(values: npt.NDArray[np.float32]) -> Frames:
    """Frames in half precision; finite values beyond its range are put at its limit, and counted.

    >>> half = to_half(np.array([[1.5, -1e6]], np.float32))
    >>> half.values.tolist(), half.clipped
    ([[1.5, -65504.0]], 1)
    """
    limit = np.float32(np.finfo(np.float16).max)
    # Values that are not numbers stay so: they are refused later.
    beyond = (np.abs(values) > limit) & np.isfinite(values)
    clipped = int(np.count_nonzero(beyond))
    if clipped:
        values = np.where(beyond, np.copysign(limit, values), values)
    return Frames(values.astype(np.float16), clipped)
