"""The order of a part's utterances, batch by batch."""

from __future__ import annotations

import numpy as np

# So many batches' utterances are sorted together: batches of about one length, in an order that still varies.
_BATCHES_SORTED = 16


def plan_in_order(count: int, batch_size: int) -> list[np.ndarray]:
    """Cut a part into batches in its own order.

    Args:
        count: utterances of the part.
        batch_size: utterances in a batch.

    Returns:
        The positions of each batch; the last batch may be smaller.

    >>> [positions.tolist() for positions in plan_in_order(5, batch_size=2)]
    [[0, 1], [2, 3], [4]]
    """
    return np.split(np.arange(count), range(batch_size, count, batch_size))


def plan_shuffled(
    word_counts: np.ndarray, frame_counts: np.ndarray, batch_size: int, generator: np.random.Generator
) -> list[np.ndarray]:
    """Shuffle a part into batches of utterances of about one length.

    Utterances are shuffled, then sorted by words, and those of as many words by frames, within stretches of 16 batches;
    at last the batches are shuffled.

    Args:
        word_counts: [B] words of each utterance of the part.
        frame_counts: [B] frames of each, or zeros where they shall not count.
        batch_size: utterances in a batch.
        generator: source of the two shuffles.

    Returns:
        The positions of each batch; one batch may be smaller.
    """
    order = generator.permutation(np.arange(len(word_counts)))
    stretch = _BATCHES_SORTED * batch_size
    batches = []
    for start in range(0, len(order), stretch):
        positions = order[start : start + stretch]
        positions = positions[np.lexsort((frame_counts[positions], word_counts[positions]))]
        batches += np.split(positions, range(batch_size, len(positions), batch_size))
    return [batches[index] for index in generator.permutation(len(batches))]
