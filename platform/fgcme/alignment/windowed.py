"""Following a text through a long recording window by window, in time that grows as the recording does.

Each window is offered more words than fit into it, and may end within them. Its last ones are left to the next window,
which begins in a pause before them. Words that fit the sound worse than any phones do are not what is said: there, the
text is lost, and looked for further on in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, groupby
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from fgcme.alignment.contract import clip_spans
from fgcme.alignment.endpoints import samples_of
from fgcme.alignment.uniform import spread_words
from fgcme.audio import HOP, WINDOW, Samples, frame_count

LONGEST = 9_000
"""Frames of 10 ms of a recording, or of the rest of one, that is one window: 90 s."""

# Frames of other windows, and of their ends, where the next window knows better.
_WINDOW, _TAIL = 6_000, 500
# Frames of a window where the text is lost; the next one begins in its middle.
_LOST_WINDOW = 3_000
# Words offered to a window, more than anybody says; where the text is lost, so many more with each window.
_OFFERED = 400
# Nats by which words fit worse than phones where the text is lost, and better where it is found: some 14 s and 8 s.
_LOST, _FOUND = 700.0, 400.0
# The next window begins this far on, or the text is lost.
_STEP = 50


class Placed(NamedTuple):
    """A word in its place.

    Attributes:
        begin: its first frame.
        end: the frame after its last.
        score: sum over its frames of the acoustic log-likelihood, in nats, relative to the likeliest state of each.
        margin: nats by which it fits there better than phones in any order, with what the right words may lack.
    """

    begin: int
    end: int
    score: float
    margin: float


class Path(NamedTuple):
    """Words that follow each other through a window.

    Attributes:
        skipped: number of words of the text before them.
        words: their places.
        end: the frame after the last one that the search got to.
    """

    skipped: int
    words: list[Placed]
    end: int


class Search(Protocol):
    """Finds words of a text in the sound of one window."""

    def lead(self, samples: Samples, words: Sequence[str]) -> Path:
        """Place the first of these words, as many as are said."""
        ...

    def whole(self, samples: Samples, words: Sequence[str]) -> Path | None:
        """Place all of these words; None where that cannot be."""
        ...

    def anywhere(self, samples: Samples, words: Sequence[str]) -> Path:
        """Place words that follow each other, wherever in the text they begin."""
        ...


def follow(
    search: Search, samples: Samples, words: Sequence[str], heard: npt.NDArray[np.intp] | None = None
) -> list[Placed | None]:
    """The place of each word of a long recording; None for those that were not found.

    Args:
        search: looks into a window.
        samples: [samples] mono at 16 kHz.
        words: normalised words, in order.
        heard: the frames that are looked into, in order, as if there were none between them; None for all.
    """
    if heard is None:
        heard = np.arange(frame_count(samples.size))
    frames = len(heard)
    placed: list[Placed | None] = []
    # Windows in which the text was not found since it was lost.
    first = lost = 0
    while len(placed) < len(words) and first < frames:
        length = min(frames - first, _LOST_WINDOW if lost else _WINDOW)
        if not lost and frames - first <= LONGEST:
            length = frames - first
        is_last = first + length == frames
        window = samples_of(samples, heard[first : first + length])
        ahead = words[len(placed) : len(placed) + _OFFERED * (1 + lost)]
        path = _find(search.anywhere(window, ahead)) if lost else _lead(search, window, ahead, is_last)
        count = _followed(path.words)
        is_lost = count < len(path.words) or path.end < length - _STEP
        if is_lost:
            step = path.words[count - 1].end if count else 0
        elif is_last:
            step = length
        else:
            count, step = _leave_tail(path.words, length)
        if lost and not count:
            lost, first = lost + 1, first + _LOST_WINDOW // 2
            continue
        lost = int(is_lost or step < _STEP)
        placed += [None] * path.skipped
        placed += [
            word._replace(begin=int(heard[first + word.begin]), end=int(heard[first + word.end - 1]) + 1)
            for word in path.words[:count]
        ]
        first += step
    return placed + [None] * (len(words) - len(placed))


def fill_gaps(placed: Sequence[Placed | None], samples: Samples) -> tuple[list[int], list[int]]:
    """The spans of all words, those without a place spread evenly over the speech between those that have one.

    Args:
        placed: [W] the places.
        samples: [samples] mono at 16 kHz.

    Returns:
        First frame of each word, and the frame after its last.
    """
    frames = frame_count(samples.size)
    begin: list[int] = []
    end: list[int] = []
    for is_missing, run in groupby(enumerate(placed), lambda numbered: numbered[1] is None):
        numbers, words = zip(*run, strict=True)
        if not is_missing:
            begin += [word.begin for word in words]
            end += [word.end for word in words]
            continue
        following = placed[numbers[-1] + 1] if numbers[-1] + 1 < len(placed) else None
        first = end[-1] if end else 0
        # A frame at least, where the words that are found leave none.
        first, last = min(first, frames - 1), following.begin if following else frames
        between = samples[first * HOP : max(first + 1, last) * HOP + WINDOW - HOP]
        spread = spread_words([""] * len(numbers), between)
        begin += [first + frame for frame in spread.begin]
        end += [first + frame for frame in spread.end]
    return clip_spans(begin, end, frames)


def _lead(search: Search, window: Samples, ahead: Sequence[str], is_last: bool) -> Path:
    """The path from the first word on; in the last window to the last word, if that one is followed."""
    path = search.whole(window, ahead) if is_last else None
    return path if path and _followed(path.words) == len(path.words) else search.lead(window, ahead)


def _followed(path: Sequence[Placed]) -> int:
    """How many words of a path are what is said: all, or those before it fits worse than phones to the end."""
    sums = list(accumulate((word.margin for word in path), initial=0.0))
    best = max(range(len(sums)), key=sums.__getitem__)
    return best if sums[best] - sums[-1] > _LOST else len(path)


def _find(path: Path) -> Path:
    """A path from where it fits better than phones for long; without words where it does nowhere."""
    sums = list(accumulate((word.margin for word in path.words), initial=0.0))
    lowest = list(accumulate(sums, min))
    best = max(range(len(sums)), key=lambda place: sums[place] - lowest[place])
    if sums[best] - lowest[best] < _FOUND:
        return path._replace(skipped=0, words=[])
    begin = sums.index(lowest[best])
    return path._replace(skipped=path.skipped + begin, words=path.words[begin:])


def _leave_tail(path: Sequence[Placed], length: int) -> tuple[int, int]:
    """How many words of a window's path are kept, and the frame in a pause where the next window begins.

    That pause is the longest one in the last third of the window before its tail, else the last one before that.
    """
    edges = [0, *(word.end for word in path)], [*(word.begin for word in path), length]
    pauses = [pause for pause in zip(*edges, strict=True) if pause[0] <= length - _TAIL]
    late = [count for count, pause in enumerate(pauses) if 3 * sum(pause) >= 4 * length] or [len(pauses) - 1]
    count = max(late, key=lambda count: pauses[count][1] - pauses[count][0])
    return count, sum(pauses[count]) // 2
