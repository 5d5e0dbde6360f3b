"""Words of a recording, cut to a part of it."""

import math
from itertools import pairwise

import pytest

from fgcme.alignment.timed_words import NO_PROBABILITY, TimedWord, in_nats, mean_score, within


def test_neighbouring_parts_share_no_word_and_lose_none() -> None:
    words = [TimedWord(str(place), 0.25 * place, 0.25 * place + 0.5) for place in range(8)]
    cuts = [0.0, 0.5, 1.25, 9.0]
    parts = [within(words, start, end) for start, end in pairwise(cuts)]
    assert [word.label for part in parts for word in part] == [word.label for word in words]
    # The middle of the second word is where the second part begins.
    assert parts[1][0][:3] == ("1", -0.25, 0.25)


def test_the_mean_is_of_the_words_that_have_a_score() -> None:
    assert mean_score([TimedWord("a", 0, 1, -1.0), TimedWord("b", 1, 2), TimedWord("c", 2, 3, -2.0)]) == pytest.approx(
        -1.5
    )
    assert math.isnan(mean_score([TimedWord("a", 0, 1)])) and math.isnan(mean_score([]))


@pytest.mark.parametrize(
    ("confidence", "nats"),
    [(1, 0.0), (0.5, math.log(0.5)), (0.001, math.log(0.001)), (0.0004, math.log(0.001)), (0, math.log(0.001))],
)
def test_a_confidence_is_brought_to_nats_that_are_never_endless(confidence: float, nats: float) -> None:
    assert in_nats(confidence) == pytest.approx(nats)


@pytest.mark.parametrize("score", [-0.01, 1.01, -4000.0, math.inf])
def test_one_number_that_is_no_probability_takes_the_others_meaning(score: float) -> None:
    assert in_nats(score) == NO_PROBABILITY
    assert math.isnan(mean_score([TimedWord("a", 0, 1, -1.0), TimedWord("b", 1, 2, in_nats(score))]))
