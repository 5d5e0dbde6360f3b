"""The order of utterances, batch by batch."""

import numpy as np
import pytest

from fgcme.data.batch_plan import plan_in_order, plan_shuffled

COUNT, SIZE = 400, 4
NO_FRAMES = np.zeros(COUNT, np.int64)


def lengths(largest: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, largest + 1, COUNT)


def shuffled(words: np.ndarray, frames: np.ndarray = NO_FRAMES, seed: int = 0) -> list[list[int]]:
    return [positions.tolist() for positions in plan_shuffled(words, frames, SIZE, np.random.default_rng(seed))]


def test_a_plan_in_order_keeps_the_order() -> None:
    assert [positions.tolist() for positions in plan_in_order(7, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
    assert [positions.tolist() for positions in plan_in_order(6, 3)] == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("count", [1, 9, 63, 64, 65, 130])
def test_a_shuffled_plan_has_every_utterance_once_in_as_few_batches_as_possible(count: int) -> None:
    plan = plan_shuffled(lengths(5)[:count], NO_FRAMES[:count], SIZE, np.random.default_rng(0))
    assert sorted(np.concatenate(plan).tolist()) == list(range(count))
    assert len(plan) == -(-count // SIZE)


def test_a_shuffled_plan_never_changes_for_a_seed() -> None:
    # Published results follow from this order.
    words = np.array([3, 1, 2, 3, 1, 2, 5])
    plan = plan_shuffled(words, np.zeros(7, np.int64), 2, np.random.default_rng(0))
    assert [positions.tolist() for positions in plan] == [[2, 5], [3, 0], [4, 1], [6]]
    assert shuffled(lengths(9), seed=1) != shuffled(lengths(9), seed=2)


def test_utterances_are_sorted_by_words_within_stretches_of_16_batches() -> None:
    words = np.arange(COUNT)
    for positions in shuffled(words):
        assert positions == sorted(positions)
    spans = np.array([np.ptp(positions) for positions in shuffled(words)])
    assert 0.5 * 3 * COUNT / 64 < spans.mean() < 2 * 3 * COUNT / 64


def test_utterances_with_equally_many_words_are_sorted_by_frames() -> None:
    words, frames = lengths(2), lengths(1000, seed=1)
    by_words = np.mean([np.ptp(frames[positions]) for positions in shuffled(words)])
    by_both = [np.ptp(frames[positions]) for positions in shuffled(words, frames)]
    assert np.mean(by_both) < 0.5 * by_words
    assert np.mean([np.ptp(words[positions]) for positions in shuffled(words, frames)]) < 0.1


def test_short_and_long_batches_are_shuffled() -> None:
    means = [np.mean(lengths(50)[positions]) for positions in shuffled(lengths(50))]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3
    # Also within a stretch.
    assert 0.3 < np.mean(np.diff(means) > 0) < 0.7


def test_each_seed_puts_other_utterances_together() -> None:
    def batch_of_first(seed: int) -> set[int]:
        return next(set(positions) for positions in shuffled(lengths(3), seed=seed) if 0 in positions)

    assert len(set.union(*(batch_of_first(seed) for seed in range(10)))) > 20
