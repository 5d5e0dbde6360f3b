"""A recording of any length as the utterances that a model answers: the whole of a short one, or its parts."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fgcme import audio
from fgcme.alignment import Alignment, AlignmentError
from fgcme.alignment.cutting import cut_at_pauses, cut_between_words
from fgcme.alignment.endpoints import frame_decibels
from fgcme.audio import HOP, SAMPLE_RATE, WINDOW, AudioError, Samples, frame_count
from fgcme.sound import duration_of

# Seconds that are read at once to find the pauses of a recording, which bounds memory.
_AT_ONCE = 60
# A transcript is aligned with a whole recording, which has to be in memory: 2 MB for a half minute.
_MOST_ALIGNED = 1800
_SILENT = -100.0

Align = Callable[[Samples, str], Alignment]


class Piece(NamedTuple):
    """A part of a recording that is answered by itself.

    Attributes:
        begin, end: seconds from the beginning of the file; `end` is None for its end.
        text: what is said in it; None if that is not known.
    """

    begin: float
    end: float | None
    text: str | None


def pieces_of(
    path: str | Path, start: float | None, end: float | None, text: str | None, longest: float, align: Align
) -> list[Piece]:
    """The utterances of a recording: itself if it is no longer than one may be, else what pauses part.

    With a transcript the words are aligned first, and the cuts are between words. Without, they are by energy.

    Args:
        path: of the recording.
        start: of the segment that is meant, in seconds; None for the file's start.
        end: of the segment; None for the file's end.
        text: what is said in all of it; None if that is not known.
        longest: seconds of an utterance.
        align: aligns a text with samples.

    Raises:
        AudioError: the audio cannot be read.
        AlignmentError: the transcript of a recording that must be cut cannot be aligned with it.
    """
    begin, lasts = start or 0.0, duration_of(path)
    finish = lasts if end is None else end
    if finish is None or finish - begin <= longest:
        return [Piece(begin, end, text)]
    limit = int(longest * SAMPLE_RATE / HOP)
    if text is None:
        stretches = cut_at_pauses(_decibels(path, begin, finish), limit)
        return [Piece(*_seconds(begin, first, last), None) for first, last in stretches]
    if finish - begin > _MOST_ALIGNED:
        raise AlignmentError(
            "bad_alignment",
            f"{path}: {finish - begin:.0f} s are too long to be aligned with one transcript ({_MOST_ALIGNED} s): give "
            "parts of it, in a manifest with the columns start and end",
        )
    samples = audio.read(path, start, end)
    aligned = align(samples, text)
    if aligned.method == "uniform":
        raise AlignmentError(
            "bad_alignment",
            f"{path}: its transcript cannot be aligned with all {finish - begin:.0f} s, so nobody knows where to cut: "
            "give parts of it, in a manifest with the columns start and end, or have it recognised",
        )
    cuts = cut_between_words(aligned.begin, aligned.end, frame_count(samples.size), limit)
    return [Piece(*_seconds(begin, first, last), " ".join(aligned.words[words])) for (first, last), words in cuts]


def _seconds(begin: float, first: int, last: int) -> tuple[float, float]:
    return begin + first * HOP / SAMPLE_RATE, begin + last * HOP / SAMPLE_RATE


def _decibels(path: str | Path, begin: float, end: float) -> npt.NDArray[np.float32]:
    """Energy of each frame of a recording, read part by part."""
    parts = []
    for number in range(math.ceil((end - begin) / _AT_ONCE)):
        first = begin + number * _AT_ONCE
        last = min(first + _AT_ONCE, end)
        count = max(1, int((last - first) * SAMPLE_RATE / HOP))
        try:
            # The last windows of a part look into the next.
            found = frame_decibels(audio.read(path, first, min(last + WINDOW / SAMPLE_RATE, end)))[:count]
        except AudioError as error:
            if error.reason not in ("silent", "too_short"):
                raise
            found = np.zeros(0)
        parts.append(np.pad(found, (0, count - len(found)), constant_values=_SILENT).astype(np.float32))
    return np.concatenate(parts)
