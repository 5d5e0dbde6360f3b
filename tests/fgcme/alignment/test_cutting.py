"""A long recording is cut at its pauses, never within a word that is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fgcme.alignment.cutting import cut_at_pauses, cut_between_words


def loudness(*parts: tuple[int, float]) -> np.ndarray:
    """So many frames at each level, in decibels."""
    return np.concatenate([np.full(count, level) for count, level in parts])


def test_every_long_enough_pause_parts_two_utterances_with_some_of_it_at_either_side() -> None:
    decibels = loudness((100, -60), (200, -20), (50, -60), (150, -25), (30, -60), (100, -20), (100, -60))
    assert cut_at_pauses(decibels, longest=3000) == [(80, 320), (330, 650)]


def test_a_click_in_a_pause_is_no_utterance() -> None:
    decibels = loudness((100, -60), (200, -20), (100, -60), (3, -10), (100, -60), (200, -20), (100, -60))
    assert len(cut_at_pauses(decibels, longest=3000)) == 2


def test_speech_without_a_pause_is_cut_where_it_is_quietest_until_no_part_is_too_long() -> None:
    decibels = loudness((50, -60), (400, -20), (20, -35), (600, -20), (50, -60))
    cut = cut_at_pauses(decibels, longest=700)
    assert cut == [(30, cut[0][1]), (cut[0][1], 1090)] and 450 <= cut[0][1] < 470
    parts = cut_at_pauses(decibels, longest=100)
    assert all(0 < end - begin <= 100 for begin, end in parts)
    # Nothing of the speech is lost.
    assert [end for _, end in parts[:-1]] == [begin for begin, _ in parts[1:]]


def test_a_steady_sound_is_one_stretch() -> None:
    assert cut_at_pauses(np.full(300, -30.0), longest=1000) == [(0, 300)]


def test_with_words_known_cuts_are_between_them_and_each_word_is_in_one_utterance() -> None:
    begin, end = [10, 60, 100, 200, 260], [50, 100, 150, 250, 300]
    assert cut_between_words(begin, end, frames=320, longest=3000) == [
        ((0, 170), slice(0, 3)),
        ((180, 320), slice(3, 5)),
    ]


def test_words_without_a_pause_are_cut_at_the_widest_gap_that_is_not_at_an_end() -> None:
    # Gaps of 30, 10, 20 and 5 frames; the first is too near to the beginning.
    begin, end = [0, 50, 200, 400, 605], [20, 190, 380, 600, 700]
    cut = cut_between_words(begin, end, frames=700, longest=500)
    assert [words for _, words in cut] == [slice(0, 3), slice(3, 5)]
    assert cut[0][0][1] <= cut[1][0][0]


def test_a_word_longer_than_an_utterance_may_be_stays_whole() -> None:
    assert cut_between_words([0, 900], [900, 950], frames=950, longest=500) == [
        ((0, 900), slice(0, 1)),
        ((900, 950), slice(1, 2)),
    ]


@pytest.mark.parametrize("longest", [50, 137, 1000])
def test_utterances_follow_each_other_without_overlap(longest: int) -> None:
    generator = np.random.default_rng(0)
    decibels = np.repeat(generator.uniform(-60, -20, 40), 25)
    cut = cut_at_pauses(decibels, longest)
    assert cut[0][0] >= 0 and cut[-1][1] <= 1000
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(cut))
    assert all(begin < end <= begin + longest for begin, end in cut)
