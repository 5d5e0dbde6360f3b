"""The words of many recordings, found by the utterance that they are of, or by their place in a recording."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from fgcme.corpora.contract import WordTime

# In seconds.
_LONGEST_WORD = 60


class _Word(NamedTuple):
    """A word in seconds of its recording, and the id of its utterance, empty where that is not said."""

    start: float
    end: float
    text: str
    utterance: str


class WordIndex:
    """Words in the order of their times."""

    def __init__(self) -> None:
        self._by_file: dict[str, list[_Word]] = defaultdict(list)
        self._by_id: dict[str, list[_Word]] = defaultdict(list)
        self._places: dict[str, tuple[str, float]] = {}
        self._ambiguous: set[str] = set()

    def __bool__(self) -> bool:
        """Whether there are any words."""
        return bool(self._by_file)

    def add(self, file: str, word: WordTime, utterance: str = "") -> None:
        """Add a word.

        Args:
            file: its recording.
            word: with its times in the recording.
            utterance: id of its utterance; empty where that is not said.
        """
        added = _Word(word.start, word.end, word.word, utterance)
        insort(self._by_file[file], added)
        if utterance:
            insort(self._by_id[utterance], added)

    def add_utterance(self, utterance: str, file: str, start: float) -> bool:
        """Say where an utterance begins, which words may name; two places make its id name neither.

        Args:
            utterance: its id.
            file: its recording.
            start: second of it.

        Returns:
            Whether the utterance is new.
        """
        if (known := self._places.get(utterance)) is None:
            self._places[utterance] = (file, start)
        elif known != (file, start):
            self._ambiguous.add(utterance)
        return known is None

    @property
    def files(self) -> Iterator[str]:
        """The recordings that have words."""
        return iter(self._by_file)

    def named(self, utterance: str, start: float | None) -> tuple[WordTime, ...] | None:
        """The words that name an utterance, in seconds from its beginning; None where none does.

        Args:
            utterance: its id.
            start: where it begins in its recording, where that was not added.
        """
        if (words := self._by_id.get(utterance)) is None or utterance in self._ambiguous:
            return None
        _, begin = self._places.get(utterance, ("", start or 0.0))
        return _from(begin, words)

    def within(self, file: str, start: float, end: float, unnamed: bool = False) -> tuple[WordTime, ...] | None:
        """The words whose middle lies in a part of a recording, in seconds from its beginning; None where none does.

        Args:
            file: the recording.
            start: first second of the part.
            end: the one after it.
            unnamed: only words that name no utterance.
        """
        words = self._by_file.get(file, [])
        first = bisect_left(words, (start - _LONGEST_WORD, 0.0, "", ""))
        last = bisect_left(words, (end, 0.0, "", ""))
        inside = [word for word in words[first:last] if start <= (word.start + word.end) / 2 < end]
        return _from(start, [word for word in inside if not (unnamed and word.utterance)]) or None


def _from(start: float, words: list[_Word]) -> tuple[WordTime, ...]:
    return tuple(WordTime(word.text, round(word.start - start, 6), round(word.end - start, 6)) for word in words)
