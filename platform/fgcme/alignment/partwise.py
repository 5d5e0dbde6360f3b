"""Alignment of recordings longer than an aligner hears: in parts, cut between words that another aligner has found."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean

from fgcme.alignment.contract import Aligner, Alignment
from fgcme.alignment.cutting import cut_between_words
from fgcme.alignment.uniform import TOO_LONG, spoken_words, spread_words
from fgcme.audio import HOP, SAMPLE_RATE, WINDOW, Samples, frame_count

IN_PARTS = "longer than the aligner hears, aligned in parts that Sphinx has cut"


class PartwiseAligner:
    """Aligns as another aligner does what is short enough, and part by part what is not.

    A second aligner, which hears any length, finds the words roughly; the recording is cut at pauses between them, and
    each part is aligned with its own words, so that the first aligner needs the memory of a part.

    Args:
        aligner: makes the spans.
        rough: builds the one that finds where to cut.
        seconds: how long what is aligned as it is may be.
        part_seconds: how long a part of what is not may be; None for as long.
    """

    def __init__(
        self, aligner: Aligner, rough: Callable[[], Aligner], seconds: float, part_seconds: float | None = None
    ) -> None:
        self._aligner = aligner
        self._rough = rough
        self._longest = int(seconds * SAMPLE_RATE) // HOP
        self._longest_part = int((part_seconds or seconds) * SAMPLE_RATE) // HOP

    def align(self, utterance_id: str, samples: Samples, text: str) -> Alignment:
        """Align a text with a recording of any length; see `Aligner.align`.

        Where even the rough words cannot be found, they are spread evenly, and where those of a part cannot, there; the
        oddities say so. The score is the mean over the parts that have one, each weighted by its words.

        Args:
            utterance_id: the utterance's id.
            samples: [samples] mono at 16 kHz.
            text: what is said.

        Raises:
            AlignmentError: see the aligner's.
        """
        frames = frame_count(samples.size)
        if frames <= self._longest:
            return self._aligner.align(utterance_id, samples, text)
        words = spoken_words(text)
        rough = self._rough().align(utterance_id, samples, text)
        if rough.method == "uniform":
            return spread_words(words, samples, TOO_LONG)
        begin: list[int] = []
        end: list[int] = []
        methods, oddities, scores = set(), [IN_PARTS], []
        for (first, last), own in cut_between_words(rough.begin, rough.end, frames, self._longest_part):
            part = samples[first * HOP : last * HOP + WINDOW - HOP]
            found = self._aligner.align(utterance_id, part, " ".join(words[own]))
            begin += [first + frame for frame in found.begin]
            end += [first + frame for frame in found.end]
            methods.add(found.method)
            oddities += found.oddities
            scores += [found.score] * len(found.words)
        known = [score for score in scores if not math.isnan(score)]
        return Alignment(
            words,
            begin,
            end,
            method=next(iter(methods - {"uniform"}), "uniform"),
            score=fmean(known) if known else math.nan,
            oddities=tuple(dict.fromkeys(oddities)),
        )
