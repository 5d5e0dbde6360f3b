"""Word segmentations of Sphinx-3, as IEMOCAP has them."""

from __future__ import annotations

import math

from fgcme.alignment.matching import FRAMES_PER_SECOND
from fgcme.alignment.timed_words import NO_PROBABILITY, TimedWord

# Sphinx-3 counts logarithms in whole numbers to this base unless it is told another; the file does not say which.
_LOG_BASE = math.log(1.0003)


def read_wdseg(text: str) -> list[TimedWord]:
    """The rows of a Sphinx word segmentation, silences too.

    The format: a header `SFrm EFrm SegAScr Word`, one row a word with its last frame of 10 ms included, and a line with
    the total score. The score of a row is the mean over its frames, relative to the likeliest state of each, as
    Sphinx-3 writes it (`sphinx3/src/programs/main_align.c`).

    Raises:
        ValueError: the header or a row is not like that.
    """
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if not lines or [name.lower() for name in lines[0]] != ["sfrm", "efrm", "segascr", "word"]:
        raise ValueError("its first line is not `SFrm EFrm SegAScr Word`")
    words: list[TimedWord] = []
    for row in lines[1:]:
        if row[0].lower().startswith("total"):
            return words
        if len(row) != 4:
            raise ValueError(f"the row `{' '.join(row)}` does not have four entries")
        first, end, score = int(row[0]), int(row[1]) + 1, int(row[2])
        nats = _LOG_BASE * score / max(end - first, 1) if score <= 0 else NO_PROBABILITY
        words.append(TimedWord(row[3], first / FRAMES_PER_SECOND, end / FRAMES_PER_SECOND, nats))
    raise ValueError("it is cut short: the line with the total score is missing")
