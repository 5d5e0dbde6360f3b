"""Transcripts with errors, as of a speech recogniser."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

WORD_ERROR_RATES = (0.1, 0.2, 0.4)


def word_error_title(rate: float) -> str:
    """What a table calls it.

    >>> word_error_title(0.1)
    '10 % of words wrong'
    """
    return f"{100 * rate:.0f} % of words wrong"


def with_word_errors(
    words: Sequence[str], rate: float, vocabulary: Sequence[str], generator: np.random.Generator
) -> list[str]:
    """Words of which each is wrong with the same probability: replaced or dropped, one as often as the other.

    At least one word is left.

    Args:
        words: the transcript.
        rate: the probability, the expected word error rate.
        vocabulary: words to replace by; one is never replaced by itself where there are others.
        generator: of the errors.
    """
    said = []
    for word in words:
        if generator.random() >= rate:
            said.append(word)
        elif generator.random() < 0.5:
            others = [other for other in vocabulary if other != word] or [word]
            said.append(others[int(generator.integers(len(others)))])
    return said or [words[int(generator.integers(len(words)))]]
