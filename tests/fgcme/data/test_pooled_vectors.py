"""Which pooled vectors are whose."""

from __future__ import annotations

import numpy as np
import torch

from fgcme.data.pooled_vectors import PooledVectors


def test_each_recording_has_its_own_vectors_in_order_and_one_without_segments_has_none() -> None:
    vectors = torch.arange(12.0).view(6, 2)
    pooled = PooledVectors.end_to_end(vectors, np.array([2, 0, 3, 1]))
    parts = [pooled.of(recording) for recording in range(4)]
    assert [len(part) for part in parts] == [2, 0, 3, 1]
    assert torch.equal(torch.cat(parts), vectors)


def test_some_recordings_keep_theirs_in_the_order_that_is_asked_for() -> None:
    vectors = torch.arange(6.0).view(6, 1)
    some = PooledVectors.end_to_end(vectors, np.array([2, 1, 3])).take(np.array([2, 0]))
    assert some.of(0).flatten().tolist() == [3, 4, 5]
    assert some.of(1).flatten().tolist() == [0, 1]
