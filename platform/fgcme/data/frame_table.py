"""The frames of all recordings end to end in one array, which processes of a node share when it is a mapped file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from fgcme.features.contract import FrameArray

# Frames that are gathered at once: a few megabytes.
_BLOCK = 32_768


@dataclass(frozen=True)
class FrameTable:
    """Frames of recordings, by the number of the recording.

    Attributes:
        values: frames of all recordings, end to end in any order; each frame has F values, float32 or, where they were
            stored in half precision, float16. Whoever asks for frames gets float32.
        first: [B] where each recording's first frame is.
        counts: [B] frames of each recording.
    """

    values: FrameArray
    first: np.ndarray
    counts: np.ndarray

    def __getitem__(self, recording: int) -> npt.NDArray[np.float32]:
        """Frames of one recording, [A, F]; a view, but a copy of what is in half precision."""
        return self.stored(recording).astype(np.float32, copy=False)

    def stored(self, recording: int) -> FrameArray:
        """Frames of one recording in the precision in which they are stored, [A, F]; a view."""
        first = int(self.first[recording])
        return self.values[first : first + int(self.counts[recording])]

    def cut(self, limit: int) -> FrameTable:
        """The same without each recording's frames from `limit` on."""
        return replace(self, counts=np.minimum(self.counts, limit))

    def blocks(self, recordings: np.ndarray) -> Iterator[tuple[npt.NDArray[np.float32], np.ndarray]]:
        """The frames of some recordings in their order, end to end, in blocks of some megabytes.

        A recording is never divided. Each block has its frames, [A, F], and how many each recording has, [B].

        Args:
            recordings: [B] their numbers.
        """
        first, counts = self.first[recordings], self.counts[recordings]
        ends = np.cumsum(counts, dtype=np.int64)
        start = 0
        while start < len(recordings):
            read = ends[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(ends, read + _BLOCK, side="right")))
            frames = self.values[concatenated_ranges(first[start:stop], counts[start:stop])]
            yield frames.astype(np.float32, copy=False), counts[start:stop]
            start = stop


def concatenated_ranges(first: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The numbers of several ranges, end to end.

    Args:
        first: [B] the first number of each range.
        counts: [B] how many numbers it has.

    >>> concatenated_ranges(np.array([5, 1]), np.array([2, 3])).tolist()
    [5, 6, 1, 2, 3]
    """
    counts = np.asarray(counts, np.int64)
    ends = np.cumsum(counts)
    return np.asarray(np.arange(ends[-1] if len(ends) else 0) + np.repeat(first - (ends - counts), counts))
