"""The frames of all utterances end to end in one array, which processes of a node share when it is a mapped file."""

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
    """Frames of utterances, by the number of the utterance.

    Attributes:
        values: frames of all utterances, end to end in any order; each frame has F values, float32 or, where they were
            stored in half precision, float16. Whoever asks for frames gets float32.
        first: [B] where each utterance's first frame is.
        counts: [B] frames of each utterance.
    """

    values: FrameArray
    first: np.ndarray
    counts: np.ndarray

    def __getitem__(self, utterance: int) -> npt.NDArray[np.float32]:
        """Frames of one utterance, [A, F]; a view, but a copy of what is in half precision."""
        first = int(self.first[utterance])
        return self.values[first : first + int(self.counts[utterance])].astype(np.float32, copy=False)

    def cut(self, limit: int) -> FrameTable:
        """The same without each utterance's frames from `limit` on."""
        return replace(self, counts=np.minimum(self.counts, limit))

    def blocks(self, utterances: np.ndarray) -> Iterator[tuple[npt.NDArray[np.float32], np.ndarray]]:
        """The frames of some utterances in their order, end to end, in blocks of some megabytes.

        An utterance is never divided. Each block has its frames, [A, F], and how many each utterance has, [B].

        Args:
            utterances: [B] numbers of utterances.
        """
        first, counts = self.first[utterances], self.counts[utterances]
        ends = np.cumsum(counts, dtype=np.int64)
        start = 0
        while start < len(utterances):
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
