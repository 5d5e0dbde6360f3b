"""What the bootstrap and the permutation test draw, held in a byte or a bit for each speaker and used block by block.

A corpus of 1,500 speakers has 150 million signs in 100,000 swaps: over a gigabyte as floats, 18 MiB as bits.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# Numbers of a block: 8 MiB as floats.
_BLOCK = 2**20


def blocks(rows: int, width: int) -> Iterator[slice]:
    """Consecutive rows of a table, so many at a time that they can be held as floats.

    >>> list(blocks(3, 2**19))
    [slice(0, 2, None), slice(2, 3, None)]

    Args:
        rows: of the table.
        width: numbers of a row.
    """
    step = max(_BLOCK // width, 1)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def draw_weights(speakers: int, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """How often each resample holds each speaker, [resamples, S] bytes; as many are drawn as there are.

    Args:
        speakers: S, how many.
        resamples: how many times they are drawn.
        generator: of the draws.
    """
    # A byte is enough: one of more than 255 speakers is drawn more than 255 times with a chance below 1 / 256!.
    weights = np.empty((resamples, speakers), np.uint8)
    for rows in blocks(resamples, speakers):
        weights[rows] = generator.multinomial(speakers, np.full(speakers, 1 / speakers), rows.stop - rows.start)
    return weights


def draw_swaps(speakers: int, at_most: int, generator: np.random.Generator) -> np.ndarray:
    """Ways to swap speakers, [swaps, S / 8] bytes of a bit for each speaker, 1 where it is swapped; one swaps nobody.

    All 2^S ways if there are no more than `at_most`; otherwise that many random ones and the one that swaps nobody,
    which keeps a Monte Carlo test valid: its p-value is (hits + 1) / (swaps + 1) (Phipson and Smyth 2010).

    >>> np.unpackbits(draw_swaps(2, 10, np.random.default_rng()), axis=1, count=2).tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]

    Args:
        speakers: S, how many.
        at_most: how many ways.
        generator: of the random ones.
    """
    if 2**speakers <= at_most:
        return np.packbits(np.arange(2**speakers)[:, None] >> np.arange(speakers) & 1, axis=1)
    swaps = np.zeros((at_most + 1, -(-speakers // 8)), np.uint8)
    random = swaps[1:]
    for rows in blocks(at_most, speakers):
        random[rows] = np.packbits(generator.integers(0, 2, (rows.stop - rows.start, speakers)), axis=1)
    return swaps
