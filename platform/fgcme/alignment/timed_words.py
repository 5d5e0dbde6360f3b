"""The words of an imported alignment as its file has them: labels, seconds and scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple


class TimedWord(NamedTuple):
    """A label, its seconds in the file, and its own score, NaN where the file has none."""

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


def mean_score(words: Sequence[TimedWord]) -> float:
    """The mean of the words' scores; NaN where none has one."""
    known = [word.score for word in words if not math.isnan(word.score)]
    return fmean(known) if known else math.nan
