"""The words of an imported alignment as its file has them: labels, seconds and scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

# The least that a confidence of two or three digits can say.
_LEAST = 1e-3
NO_PROBABILITY = math.inf
"""Score of a word whose file has a number for it that is no probability, such as another tool's acoustic score."""


class TimedWord(NamedTuple):
    """A label, its seconds in the file, and its own score in nats: NaN where the file has none, or `NO_PROBABILITY`."""

    label: str
    start: float
    end: float
    score: float = math.nan


def within(words: Sequence[TimedWord], start: float, end: float) -> list[TimedWord]:
    """The words whose middle lies in a part of a recording, in seconds from its beginning; they may reach beyond it.

    Args:
        words: of the recording.
        start: first second of the part.
        end: the one after it.

    >>> within([TimedWord("a", 0.0, 1.0), TimedWord("b", 1.0, 2.0), TimedWord("c", 2.0, 9.0)], 0.75, 3.0)
    [TimedWord(label='b', start=0.25, end=1.25, score=nan)]
    """
    inside = (word for word in words if start <= (word.start + word.end) / 2 < end)
    return [word._replace(start=word.start - start, end=word.end - start) for word in inside]


def in_nats(probability: float) -> float:
    """The logarithm of a confidence from 0 to 1; below a thousandth it counts as that.

    >>> in_nats(1.0), round(in_nats(0.0), 3), in_nats(-312.5), in_nats(math.nan)
    (0.0, -6.908, inf, nan)
    """
    if math.isnan(probability):
        return math.nan
    return math.log(max(probability, _LEAST)) if 0 <= probability <= 1 else NO_PROBABILITY


def mean_score(words: Sequence[TimedWord]) -> float:
    """The mean of the words' scores; NaN where none has one, or any has a number that is no probability."""
    known = [word.score for word in words if not math.isnan(word.score)]
    return fmean(known) if known and NO_PROBABILITY not in known else math.nan
