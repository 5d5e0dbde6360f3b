"""Word segmentations of Sphinx-3, as IEMOCAP has them."""

from __future__ import annotations

from fgcme.alignment.matching import FRAMES_PER_SECOND
from fgcme.alignment.timed_words import TimedWord


def read_wdseg(text: str) -> list[TimedWord]:
    """The rows of a Sphinx word segmentation, silences too; the score of each is that of a frame of it.

    The format: a header `SFrm EFrm SegAScr Word`, one row a word with its last frame of 10 ms included, and a line with
    the total score.

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
        words.append(TimedWord(row[3], first / FRAMES_PER_SECOND, end / FRAMES_PER_SECOND, score / max(end - first, 1)))
    raise ValueError("it is cut short: the line with the total score is missing")
