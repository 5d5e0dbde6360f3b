from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from fgcme.evaluation.resampling import blocks, draw_swaps, draw_weights
from tests.fgcme.evaluation.memory import peak_mebibytes

Draw = Callable[[int, int, np.random.Generator], np.ndarray]


@pytest.mark.parametrize(("rows", "width"), [(0, 7), (1, 2**21), (5, 2**20), (10_000, 300), (3, 1)])
def test_blocks_are_the_rows_one_after_the_other(rows: int, width: int) -> None:
    assert [row for block in blocks(rows, width) for row in range(rows)[block]] == list(range(rows))
    heights = [block.stop - block.start for block in blocks(rows, width)]
    assert all(height == 1 or height * width <= 2**20 for height in heights)


def test_weights_are_those_of_one_draw_of_all_resamples() -> None:
    weights = draw_weights(300, 10_000, np.random.default_rng(1))
    whole = np.random.default_rng(1).multinomial(300, np.full(300, 1 / 300), 10_000)
    np.testing.assert_array_equal(weights, whole)
    assert (weights.sum(1, dtype=int) == 300).all()


@pytest.mark.parametrize("speakers", [1, 3, 8, 11])
def test_few_speakers_are_swapped_in_every_way_once(speakers: int) -> None:
    swaps = draw_swaps(speakers, 2**speakers, np.random.default_rng(0))
    ways = np.unpackbits(swaps, axis=1, count=speakers)
    assert sorted(map(tuple, ways.tolist())) == list(itertools.product([0, 1], repeat=speakers))


def test_many_speakers_are_swapped_in_random_ways_and_once_not_at_all() -> None:
    swaps = draw_swaps(300, 10_000, np.random.default_rng(1))
    ways = np.unpackbits(swaps, axis=1, count=300)
    assert not ways[0].any()
    np.testing.assert_array_equal(ways[1:], np.random.default_rng(1).integers(0, 2, (10_000, 300)))


@pytest.mark.parametrize(("draw", "times"), [(draw_weights, 5000), (draw_swaps, 30_000)])
def test_draws_of_1500_speakers_take_little_memory(draw: Draw, times: int) -> None:
    # As floats, the weights would take 57 MiB and the swaps 343.
    assert peak_mebibytes(lambda: draw(1500, times, np.random.default_rng(0))) < 40
