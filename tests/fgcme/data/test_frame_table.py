"""Frames of utterances, end to end in one array."""

import numpy as np

from fgcme.data.frame_table import FrameTable


def table(counts: list[int], order: list[int] | None = None) -> FrameTable:
    """Frames of 3 values, all of them numbered; the utterances lie in the array in the order given."""
    sizes = np.array(counts, np.int32)
    order = order or list(range(len(counts)))
    first = np.zeros(len(counts), np.int64)
    first[order] = np.cumsum(sizes[order]) - sizes[order]
    return FrameTable(np.arange(3 * sizes.sum(), dtype=np.float32).reshape(-1, 3), first, sizes)


def test_an_utterance_s_frames_are_a_view_wherever_they_lie() -> None:
    frames = table([2, 3, 1], order=[2, 0, 1])
    assert frames[2].tolist() == [[0, 1, 2]]
    assert frames[0][:, 0].tolist() == [3, 6] and frames[1][:, 0].tolist() == [9, 12, 15]
    assert np.shares_memory(frames[1], frames.values)


def test_cut_frames_are_the_first_ones() -> None:
    frames = table([2, 5, 1])
    assert [frames.cut(3)[index].tolist() for index in range(3)] == [frames[index][:3].tolist() for index in range(3)]


def test_blocks_hold_the_frames_of_the_utterances_in_their_order_and_stay_small() -> None:
    generator = np.random.default_rng(0)
    frames = table(generator.integers(1, 3000, 200).tolist(), order=generator.permutation(200).tolist())
    chosen = generator.permutation(200)[:150]
    blocks, counts = zip(*frames.blocks(chosen), strict=True)
    assert np.concatenate(counts).tolist() == [len(frames[index]) for index in chosen]
    assert [len(block) for block in blocks] == [each.sum() for each in counts]
    np.testing.assert_array_equal(np.concatenate(blocks), np.concatenate([frames[index] for index in chosen]))
    assert max(map(len, blocks)) <= 32_768 < sum(map(len, blocks))


def test_an_utterance_longer_than_a_block_is_a_block_of_its_own() -> None:
    frames = table([10, 40_000, 10])
    assert [len(block) for block, _ in frames.blocks(np.arange(3))] == [10, 40_000, 10]
    assert list(frames.blocks(np.zeros(0, np.int64))) == []


def test_frames_in_half_precision_are_given_in_single() -> None:
    frames = table([2, 3, 1])
    half = FrameTable(frames.values.astype(np.float16), frames.first, frames.counts)
    assert half[1].dtype == np.float32 and half[1].tolist() == frames[1].tolist()
    ((block, _),) = half.blocks(np.array([2, 0]))
    assert block.dtype == np.float32 and block.tolist() == [*frames[2].tolist(), *frames[0].tolist()]
