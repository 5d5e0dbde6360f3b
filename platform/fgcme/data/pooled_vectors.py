"""What the segments of recordings are reduced to, once for all epochs."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor


class PooledVectors(NamedTuple):
    """Pooled vectors of recordings, and which are whose.

    Attributes:
        vectors: [G, D] of the segments of all recordings.
        first, end: [B] the first of each recording's, and the one after its last.
    """

    vectors: Tensor
    first: np.ndarray
    end: np.ndarray

    @classmethod
    def end_to_end(cls, vectors: Tensor, counts: np.ndarray) -> PooledVectors:
        """Those of one recording after the other.

        Args:
            vectors: [G, D].
            counts: [B] how many each recording has.

        >>> import torch
        >>> PooledVectors.end_to_end(torch.eye(3), np.array([2, 1])).of(1).tolist()
        [[0.0, 0.0, 1.0]]
        """
        end = np.cumsum(counts)
        return cls(vectors, end - counts, end)

    def take(self, recordings: np.ndarray) -> PooledVectors:
        """Those of some recordings."""
        return self._replace(first=self.first[recordings], end=self.end[recordings])

    def of(self, recording: int) -> Tensor:
        """Those of one recording, [its segments, D]."""
        return self.vectors[self.first[recording] : self.end[recording]]
