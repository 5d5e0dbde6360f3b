"""Words are wrong as often as asked for, replaced as often as dropped, and never all gone."""

from __future__ import annotations

import numpy as np

from fgcme.robustness.word_errors import with_word_errors

VOCABULARY = ["garden", "fever", "table", "kids"]


def test_words_are_wrong_at_the_rate_replaced_as_often_as_dropped() -> None:
    generator = np.random.default_rng(0)
    words = ["kids"] * 5000
    said = with_word_errors(words, 0.2, VOCABULARY, generator)
    dropped, replaced = len(words) - len(said), sum(word != "kids" for word in said)
    assert 400 < dropped < 600 and 400 < replaced < 600


def test_nothing_is_wrong_at_rate_0_and_one_word_is_left_at_rate_1() -> None:
    generator = np.random.default_rng(0)
    assert with_word_errors(["the", "garden"], 0, VOCABULARY, generator) == ["the", "garden"]
    lengths = [len(with_word_errors(["the", "garden"], 1, VOCABULARY, generator)) for _ in range(50)]
    assert set(lengths) == {1, 2}


def test_a_vocabulary_of_the_word_alone_cannot_replace_it() -> None:
    said = with_word_errors(["kids"] * 20, 1, ["kids"], np.random.default_rng(0))
    assert set(said) == {"kids"}
