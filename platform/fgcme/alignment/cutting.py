"""Where a long recording is cut into utterances: at pauses, between words where it is known what is said."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

Stretch = tuple[int, int]
"""First frame of 10 ms of a stretch, and the frame after its last."""

# A pause of so many frames ends an utterance, and so many of it stay at either side.
_PAUSE, _MARGIN = 40, 20
# Speech is this far from the background (a tenth of the frames are quieter) to the loudest (a twentieth are louder).
_RISE, _BACKGROUND, _LOUDEST = 0.3, 10, 95
# A click is in three windows; the median over this many frames removes it.
_CLICK = 9
# What is too long is cut no nearer to its ends than this share of it.
_EDGE = 0.25


def cut_at_pauses(decibels: npt.NDArray[np.floating], longest: int) -> list[Stretch]:
    """The utterances of a recording by its energy alone.

    What has no pause and is too long is cut where it is quietest.

    Args:
        decibels: [A] energy of each frame of 10 ms, see `fgcme.alignment.endpoints.frame_decibels`.
        longest: frames of an utterance.

    >>> cut_at_pauses(np.array([-60.0] * 100 + [-20.0] * 100 + [-60.0] * 100 + [-20.0] * 50 + [-60.0] * 50), 1000)
    [(80, 220), (280, 370)]
    """
    smooth = median_filter(np.asarray(decibels), _CLICK, mode="nearest")
    background, loudest = np.percentile(smooth, (_BACKGROUND, _LOUDEST))
    is_speech = smooth >= background + _RISE * (loudest - background)
    edges = np.flatnonzero(np.diff(is_speech, prepend=False, append=False))
    runs = list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
    groups = [(runs[first][0], runs[last - 1][1]) for first, last in _group(runs)]
    found: list[Stretch] = []
    for begin, end in _with_margins(groups, len(smooth)):
        found += _cut_quietest(smooth, begin, end, longest)
    return found


def cut_between_words(
    begin: Sequence[int], end: Sequence[int], frames: int, longest: int
) -> list[tuple[Stretch, slice]]:
    """The utterances of a recording whose words are aligned: where it is cut, and which words each has.

    What has no pause and is too long is cut at the longest gap between two words; a word is never cut.

    Args:
        begin: [W] first frame of each word.
        end: [W] the frame after the last one of each word.
        frames: of the recording.
        longest: frames of an utterance.

    >>> cut_between_words([10, 50, 150], [40, 90, 200], frames=230, longest=3000)
    [((0, 110), slice(0, 2, None)), ((130, 220), slice(2, 3, None))]
    """
    spans = list(zip(begin, end, strict=True))
    words = [part for group in _group(spans) for part in _cut_widest(spans, *group, longest)]
    stretches = _with_margins([(spans[first][0], spans[last - 1][1]) for first, last in words], frames)
    return [(stretch, slice(*numbers)) for stretch, numbers in zip(stretches, words, strict=True)]


def _group(spans: Sequence[Stretch]) -> list[tuple[int, int]]:
    """Numbers of spans with no pause between them: the first, and the one after the last."""
    starts = [place for place in range(1, len(spans)) if spans[place][0] - spans[place - 1][1] >= _PAUSE]
    edges = [0, *starts, len(spans)] if spans else []
    return list(pairwise(edges))


def _with_margins(groups: Sequence[Stretch], frames: int) -> list[Stretch]:
    """The same with some of the pauses around them, at most half of each."""
    widened = []
    for place, (begin, end) in enumerate(groups):
        before = (groups[place - 1][1] + begin + 1) // 2 if place else 0
        after = (end + groups[place + 1][0]) // 2 if place + 1 < len(groups) else frames
        widened.append((max(begin - _MARGIN, before), min(end + _MARGIN, after)))
    return widened


def _cut_quietest(smooth: npt.NDArray[np.floating], begin: int, end: int, longest: int) -> list[Stretch]:
    if end - begin <= longest:
        return [(begin, end)]
    first, last = _inner(begin, end)
    place = first + int(np.argmin(smooth[first:last]))
    return [*_cut_quietest(smooth, begin, place, longest), *_cut_quietest(smooth, place, end, longest)]


def _cut_widest(spans: Sequence[Stretch], first: int, last: int, longest: int) -> list[tuple[int, int]]:
    begin, end = spans[first][0], spans[last - 1][1]
    if end - begin <= longest or last - first == 1:
        return [(first, last)]
    inner = _inner(begin, end)
    places = [place for place in range(first + 1, last) if inner[0] <= spans[place][0] < inner[1]]
    # Words so long that none begins there.
    places = places or list(range(first + 1, last))
    cut = max(places, key=lambda place: spans[place][0] - spans[place - 1][1])
    return [*_cut_widest(spans, first, cut, longest), *_cut_widest(spans, cut, last, longest)]


def _inner(begin: int, end: int) -> Stretch:
    edge = max(1, int((end - begin) * _EDGE))
    return begin + edge, end - edge
