"""The last resort: words spread evenly over the speech in the utterance."""

from __future__ import annotations

import math

import numpy as np

from fgcme.alignment.contract import Alignment, AlignmentError, clip_spans
from fgcme.alignment.endpoints import detect_endpoints
from fgcme.alignment.words import normalise
from fgcme.audio import Samples, frame_count

TOO_MUCH_TEXT = "with more words than the aligner finds room for in the sound, spread evenly"
NOT_FOLLOWED = "whose words the aligner could not follow to the end, spread evenly"
TOO_LONG = "longer than the aligner can hear, its words spread evenly"


def spread_words(words: list[str], samples: Samples, why: str | None = None) -> Alignment:
    """Spans of equal length over the speech, or over the whole utterance where that has fewer frames than words.

    Args:
        words: normalised words, at least one.
        samples: [samples] mono at 16 kHz, at least one window long.
        why: they are spread though another aligner was asked, as an oddity; None where none was.
    """
    frames = frame_count(samples.size)
    first, last = detect_endpoints(samples)
    if last - first < len(words):
        first, last = 0, frames
    edges = np.linspace(first, last, len(words) + 1).round().astype(int).tolist()
    begin, end = clip_spans(edges[:-1], edges[1:], frames)
    return Alignment(words, begin, end, method="uniform", score=math.nan, oddities=(why,) if why else ())


class UniformAligner:
    """Aligns with `spread_words`, which needs no model and never fails."""

    def align(self, utterance_id: str, samples: Samples, text: str) -> Alignment:
        """Spread the words of a text evenly; see `Aligner.align`.

        Args:
            utterance_id: not used.
            samples: [samples] mono at 16 kHz.
            text: what is said.

        Raises:
            AlignmentError: `no_words` only.
        """
        return spread_words(spoken_words(text), samples)


def spoken_words(text: str) -> list[str]:
    """The normalised words of a text.

    Raises:
        AlignmentError: `no_words`.
    """
    words = normalise(text)
    if not words:
        raise AlignmentError("no_words", f"the text {text!r} has no words")
    return words
