"""The words of an imported alignment, fitted to those of the transcript."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from fgcme.audio import HOP, SAMPLE_RATE

FRAMES_PER_SECOND = SAMPLE_RATE / HOP
FITTED = "with the words of an imported alignment fitted to the transcript's"
OVERLAPPING = "with imported words that overlap, each cut where the next begins"

# Share of the words that must agree, or it is another utterance's alignment.
_AGREEMENT = 0.5
# Words of each side that a message shows.
_SHOWN = 6


class Interval(NamedTuple):
    """A label and its frames of 10 ms, end exclusive, as written in the file; the end may lie beyond the audio."""

    label: str
    begin: int
    end: int


def timed(label: str, start: float, end: float) -> Interval:
    """An interval whose edges are given in seconds.

    Args:
        label: of the interval.
        start: its first second.
        end: its last.

    Raises:
        ValueError: one of them is no time.
        OverflowError: the same.

    >>> timed("door", 1.2, 1.504)
    Interval(label='door', begin=120, end=150)
    """
    return Interval(label, round(start * FRAMES_PER_SECOND), round(end * FRAMES_PER_SECOND))


UNKNOWN = ""
"""Label of speech that the file does not put into words, such as `<unk>`."""


def fit(found: Sequence[Interval], words: Sequence[str]) -> list[Interval]:
    """The words of a transcript with the times of a file's; equal ones keep theirs.

    Where they differ, the transcript's words share the time of the file's evenly; those that the file lacks lie between
    their neighbours, and what the transcript lacks goes.

    Args:
        found: the file's words in order; `UNKNOWN` where it has none for what is said.
        words: those of the transcript.

    Returns:
        An interval for each of `words`.

    Raises:
        ValueError: fewer than half of the words agree.

    >>> fit([Interval("kids", 0, 10), Interval("", 10, 30), Interval("doors", 30, 50)], ["kids", "talk", "by", "doors"])
    [Interval(label='kids', begin=0, end=10), Interval(label='talk', begin=10, end=20), \
Interval(label='by', begin=20, end=30), Interval(label='doors', begin=30, end=50)]
    """
    said = [interval.label for interval in found if interval.label != UNKNOWN]
    if said == [*words]:
        return [interval for interval in found if interval.label != UNKNOWN]
    matcher = SequenceMatcher(None, [interval.label for interval in found], list(words), autojunk=False)
    agreeing = sum(block.size for block in matcher.get_matching_blocks())
    if agreeing < _AGREEMENT * max(len(said), len(words)):
        raise ValueError(f"its words are not the transcript's: {_shown(said)} instead of {_shown(words)}")
    fitted: list[Interval] = []
    for _, first, last, first_word, last_word in matcher.get_opcodes():
        if last - first == last_word - first_word:
            fitted += [Interval(words[first_word + n], *found[first + n][1:]) for n in range(last - first)]
        elif last > first:
            fitted += _share(words[first_word:last_word], found[first].begin, found[last - 1].end)
        else:
            begin = found[first - 1].end if first else 0
            end = found[first].begin if first < len(found) else begin
            fitted += _share(words[first_word:last_word], begin, max(begin, end))
    return fitted


def cut_overlaps(words: Sequence[Interval]) -> tuple[list[Interval], bool]:
    """Each word cut where the next begins, and whether any was."""
    cut = [
        word._replace(end=min(word.end, following.begin)) if following.begin > word.begin else word
        for word, following in zip(words, [*words[1:], Interval(UNKNOWN, 2**62, 2**62)], strict=True)
    ]
    # Of files that are right, no word ends more than a rounded frame behind the next one's beginning.
    return cut, any(before.end > after.end + 1 for before, after in zip(words, cut, strict=True))


def _share(words: Sequence[str], begin: int, end: int) -> Iterator[Interval]:
    length = (end - begin) / max(len(words), 1)
    for number, word in enumerate(words):
        yield Interval(word, begin + round(number * length), begin + round((number + 1) * length))


def _shown(words: Sequence[str]) -> str:
    return f"`{' '.join(words[:_SHOWN])}{' ...' if len(words) > _SHOWN else ''}`"
