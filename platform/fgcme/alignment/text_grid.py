"""Praat's TextGrids: read in their text formats, and written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from fgcme.alignment.timed_words import TimedWord

# Names of the tier with the words, in lower case: those of Praat's users, MAUS and the Montreal Forced Aligner.
_WORD_TIER = re.compile(r"words?|ort-mau|.+ - words")
# Praat's text formats: only strings and numbers that stand alone count; `!` begins a comment.
_PRAAT = re.compile(r'"((?:[^"]|"")*)"|(?<!\S)(-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)(?!\S)|(?<!\S)!.*')


class Tier(NamedTuple):
    """A tier of intervals that follow each other: begin and end in seconds, and a text."""

    name: str
    intervals: Sequence[tuple[float, float, str]]


def read_text_grid(text: str, tier: str | None = None) -> list[TimedWord]:
    """The intervals of the tier with the words of a Praat TextGrid in its long or short text format.

    Format: https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html

    Args:
        text: of the file.
        tier: its name, whatever its capitals; None for one called `words`, `word`, `ORT-MAU` or `speaker - words` that
            has any.

    Raises:
        ValueError: it is no TextGrid, or has no such tier, or several.
    """
    tokens = iter(_praat_tokens(text))
    # Old versions of Praat wrote `ooTextFile short`.
    if next(tokens, "") not in ("ooTextFile", "ooTextFile short") or next(tokens, "") != "TextGrid":
        raise ValueError("it is no TextGrid in a text format")
    _numbers(tokens, 2)
    names: list[str] = []
    tiers: dict[str, list[TimedWord]] = {}
    for _ in range(int(_numbers(tokens, 1)[0])):
        kind, name = next(tokens, ""), next(tokens, "")
        _, _, size = _numbers(tokens, 3)
        names.append(str(name).strip())
        called = names[-1].lower()
        wanted = kind == "IntervalTier" and (called == tier.strip().lower() if tier else _WORD_TIER.fullmatch(called))
        intervals = []
        for _ in range(int(size)):
            times = _numbers(tokens, 2 if kind == "IntervalTier" else 1)
            label = next(tokens, None)
            if not isinstance(label, str):
                raise ValueError(f"the tier {name!r} ends early")
            intervals.append(TimedWord(label, times[0], times[-1]))
        if wanted and any(interval.label.strip() for interval in intervals):
            tiers.setdefault(called, intervals)
    there = f"(there are {', '.join(names) or 'none'}): name one with prepare.alignment.tier"
    if len(tiers) > 1:
        raise ValueError(f"several tiers may be that of the words {there}")
    if not tiers:
        raise ValueError(f"no tier called `{tier or 'words'}` has words {there}")
    return next(iter(tiers.values()))


def to_text_grid(tiers: Sequence[Tier], duration: float) -> str:
    """A TextGrid in its long text format.

    Args:
        tiers: their intervals may leave gaps, which become intervals without a text.
        duration: of the recording, in seconds.
    """
    lines = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {duration:.6f}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    for number, tier in enumerate(tiers, start=1):
        intervals = list(_without_gaps(tier.intervals, duration))
        lines += [
            f"    item [{number}]:",
            '        class = "IntervalTier"',
            f'        name = "{tier.name}"',
            "        xmin = 0",
            f"        xmax = {duration:.6f}",
            f"        intervals: size = {len(intervals)}",
        ]
        for position, (begin, end, text) in enumerate(intervals, start=1):
            escaped = text.replace('"', '""')
            lines += [
                f"        intervals [{position}]:",
                f"            xmin = {begin:.6f}",
                f"            xmax = {end:.6f}",
                f'            text = "{escaped}"',
            ]
    return "\n".join(lines)


def _without_gaps(intervals: Sequence[tuple[float, float, str]], duration: float) -> Iterator[tuple[float, float, str]]:
    """Intervals that cover the whole duration, as Praat wants it: silence between them has no text."""
    previous = 0.0
    for begin, end, text in intervals:
        if end <= begin:  # a word that got no frame
            continue
        if begin > previous:
            yield previous, begin, ""
        yield begin, end, text
        previous = end
    if previous < duration:
        yield previous, duration, ""


def _praat_tokens(text: str) -> Iterator[str | float]:
    for match in _PRAAT.finditer(text):
        string, number = match.groups()
        if string is not None:
            yield string.replace('""', '"')
        elif number is not None:
            yield float(number)


def _numbers(tokens: Iterator[str | float], count: int) -> list[float]:
    numbers = [next(tokens, None) for _ in range(count)]
    if not all(isinstance(number, float) for number in numbers):
        raise ValueError("a number is missing")
    return [float(number) for number in numbers if number is not None]
