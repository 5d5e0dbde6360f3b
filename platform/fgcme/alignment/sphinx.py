"""Forced alignment with PocketSphinx and the US English model that comes with it: nothing to download.

Words of other languages are pronounced by eSpeak NG, in the English phones nearest to theirs (`pronounce_in`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from fgcme.alignment.contract import Alignment, clip_spans
from fgcme.alignment.endpoints import detect_endpoints, frames_outside_long_pauses
from fgcme.alignment.phonemes import check_language
from fgcme.alignment.sphinx_decoder import (
    ENGLISH,
    add_missing_words,
    build_decoder,
    decode,
    is_word,
    log_likelihood,
    normalise_level,
    word_of,
)
from fgcme.alignment.sphinx_windows import SphinxWindows
from fgcme.alignment.uniform import NOT_FOLLOWED, spoken_words, spread_words
from fgcme.alignment.windowed import LONGEST, fill_gaps, follow
from fgcme.audio import HOP, Samples, frame_count

PARTLY_FOLLOWED = "with stretches whose words the aligner could not follow, spread evenly there"

# Standard deviation of the added noise; full scale is 1.
_DITHER = 4 / 32_768
# Frames of silence left at each end by trimming.
_MARGIN = 20

_lock = threading.Lock()


class SphinxAligner:
    """Aligns with one decoder per process; a text that the decoder cannot follow is spread uniformly.

    The score is the mean over the words' frames of the acoustic log-likelihood, in nats, of the states on the path,
    relative to the likeliest state of each frame: 0 is perfect, clear speech has -1 to -2, shouts, whispers and
    synthetic voices -3 to -6.

    Args:
        language: of the texts: `en` for the dictionary of US English, or one that eSpeak NG speaks, such as `de`.

    Raises:
        UserError: eSpeak NG speaks no such language.
    """

    def __init__(self, language: str = ENGLISH) -> None:
        if language != ENGLISH:
            check_language(language)
        self._language = language

    def align(self, utterance_id: str, samples: Samples, text: str) -> Alignment:
        """Align a text with PocketSphinx, what is longer than 90 s window by window; see `Aligner.align`.

        Args:
            utterance_id: not used.
            samples: [samples] mono at 16 kHz.
            text: what is said.

        Raises:
            AlignmentError: `no_words`, or `oov` for a word that the language has no sounds for.
        """
        words = spoken_words(text)
        frames = frame_count(samples.size)
        # A decoder holds one utterance, and a served model is called from several threads.
        with _lock:
            if frames > LONGEST:
                return self._align_windows(samples, words)
            for beam, variant, first_frame in search_attempts(samples):
                segments = _align_whole(beam, self._language, words, variant)
                if segments is not None:
                    begin, end = clip_spans(
                        [first_frame + segment.start_frame for segment in segments],
                        [first_frame + segment.end_frame + 1 for segment in segments],
                        frames,
                    )
                    return Alignment(words, begin, end, method="sphinx", score=_score(segments))
        return spread_words(words, samples, NOT_FOLLOWED)

    def _align_windows(self, samples: Samples, words: list[str]) -> Alignment:
        """Align a long recording window by window; where most of its words are not found, all are spread."""
        # A word without sounds is refused at once, not after minutes.
        add_missing_words(build_decoder("wide", self._language), self._language, words)
        # The decoder takes the level of what it has heard last, and after a minute of silence hears speech as noise.
        placed = follow(SphinxWindows(self._language), samples, words, frames_outside_long_pauses(samples))
        found = [word for word in placed if word is not None]
        if 2 * len(found) < len(words):
            return spread_words(words, samples, NOT_FOLLOWED)
        begin, end = fill_gaps(placed, samples)
        score = sum(word.score for word in found) / sum(word.end - word.begin for word in found)
        oddities = (PARTLY_FOLLOWED,) if len(found) < len(words) else ()
        return Alignment(words, begin, end, method="sphinx", score=score, oddities=oddities)


def search_attempts(samples: Samples) -> Iterator[tuple[str, Samples, int]]:
    """What is tried in turn, until the search reaches the last word.

    Yields:
        Beam, samples to align, and the frame of the utterance that these start at.
    """
    levelled = normalise_level(samples)
    yield "normal", levelled, 0
    yield "wide", levelled, 0
    first, last = detect_endpoints(samples)
    first, last = max(0, first - _MARGIN), last + _MARGIN
    trimmed = normalise_level(samples[first * HOP : last * HOP])
    yield "wide", trimmed, first
    # Always the same noise, so that an utterance always aligns the same way.
    noise = np.random.default_rng(0).normal(0, _DITHER, trimmed.size).astype(np.float32)
    yield "wide", trimmed + noise, first


def _align_whole(beam: str, language: str, words: list[str], samples: Samples) -> list[Any] | None:
    """One segment for each word, or None where the search did not reach the last word."""
    decoder = build_decoder(beam, language)
    add_missing_words(decoder, language, words)
    decoder.set_align_text(" ".join(words))
    segments = [segment for segment in decode(decoder, samples, to_the_end=True) or () if is_word(segment)]
    return segments if [word_of(segment) for segment in segments] == words else None


def _score(segments: list[Any]) -> float:
    frames: int = sum(segment.end_frame - segment.start_frame + 1 for segment in segments)
    return sum(log_likelihood(segment) for segment in segments) / frames
