"""Forced alignment with PocketSphinx and the US English model that comes with it: nothing to download.

Words of other languages are pronounced by eSpeak NG, in the English phones nearest to theirs (`pronounce_in`).
"""

from __future__ import annotations

import functools
import math
import re
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from fgcme.alignment.contract import Alignment, AlignmentError, clip_spans
from fgcme.alignment.endpoints import detect_endpoints
from fgcme.alignment.phonemes import check_language, pronounce_in
from fgcme.alignment.pronunciation import pronounce
from fgcme.alignment.uniform import NOT_FOLLOWED, spoken_words, spread_words
from fgcme.audio import HOP, SAMPLE_RATE, Samples, frame_count

ENGLISH = "en"
"""The language of the dictionary that comes with PocketSphinx."""

# No language model decides here, so probabilities count as they are: weighted as beside one, silence would be so
# unlikely that the first word takes the one before it.
_SILENCE: dict[str, float] = {"lw": 1.0, "silprob": 0.1}
# Paths this much less likely than the best are dropped; `wide` keeps nearly all, and is a third slower.
_BEAMS: dict[str, dict[str, float]] = {"normal": {}, "wide": {"beam": 1e-150, "pbeam": 1e-150, "wbeam": 1e-150}}
# PocketSphinx shifts the logarithm of path scores right by ten bits.
_SCORE_SCALE = 1 << 10
# Peak that samples are scaled to, and standard deviation of the added noise; full scale is 1.
_PEAK = 0.5
_DITHER = 4 / 32_768
# Samples that are converted at once.
_AT_ONCE = 60 * SAMPLE_RATE
# Frames of silence left at each end by trimming.
_MARGIN = 20
# The decoder numbers alternate pronunciations: `the(2)`.
_ALTERNATE = re.compile(r"\(\d+\)$")

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
        """Align a text with PocketSphinx; see `Aligner.align`.

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
            for beam, variant, first_frame in search_attempts(samples):
                segments = _decode(_decoder(beam, self._language), self._language, words, variant)
                if segments is not None:
                    begin, end = clip_spans(
                        [first_frame + segment.start_frame for segment in segments],
                        [first_frame + segment.end_frame + 1 for segment in segments],
                        frames,
                    )
                    return Alignment(words, begin, end, method="sphinx", score=_score(segments))
        return spread_words(words, samples, NOT_FOLLOWED)


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


def normalise_level(samples: Samples) -> Samples:
    """The samples scaled to one peak, so that rounding to 16 bits does not drown quiet speech."""
    return samples * np.float32(_PEAK / max(float(np.abs(samples).max()), 1e-9))


def to_pcm(samples: Samples) -> bytes:
    """Samples as PocketSphinx takes them: 16 bits each."""
    pcm = np.empty(samples.size, "<i2")
    # A minute at a time: of an hour, each copy takes 0.2 GB.
    for first in range(0, samples.size, _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        pcm[part] = np.clip(samples[part], -1, 1) * 32_767
    return pcm.tobytes()


@functools.cache
def _decoder(beam: str, language: str) -> Any:
    import pocketsphinx

    # English words are no words of other languages: those start without a dictionary.
    dictionary = {} if language == ENGLISH else {"dict": None}
    options = {**_BEAMS[beam], **_SILENCE, **dictionary}
    # The lattice's best path (`bestpath`) may end before the last word.
    return pocketsphinx.Decoder(lm=None, loglevel="FATAL", samprate=SAMPLE_RATE, bestpath=False, **options)


def _decode(decoder: Any, language: str, words: list[str], samples: Samples) -> list[Any] | None:
    """One segment for each word, or None where the search did not reach the last word."""
    _add_missing_words(decoder, language, words)
    # Forget the noise estimate of the previous utterance: it would move the spans of this one.
    decoder.reinit_feat()
    decoder.set_align_text(" ".join(words))
    decoder.start_utt()
    decoder.process_raw(to_pcm(samples), full_utt=True)
    decoder.end_utt()
    if decoder.hyp() is None:
        return None
    segments = [segment for segment in decoder.seg() if not segment.word.startswith(("<", "["))]
    return segments if [_ALTERNATE.sub("", segment.word) for segment in segments] == words else None


def _add_missing_words(decoder: Any, language: str, words: list[str]) -> None:
    """Add the words that the dictionary lacks, each pronounced as if no other had been added."""
    added = _added_words(decoder)

    def lookup(word: str) -> str | None:
        # An added word is a guess: a guess made from it would depend on what was aligned before.
        return None if word in added else decoder.lookup_word(word)

    for word in words:
        if decoder.lookup_word(word) is None:
            phones = pronounce(word, lookup) if language == ENGLISH else pronounce_in(language, word)
            if phones is None:
                raise AlignmentError(
                    "oov",
                    f"the word {word!r} has no letter that the aligner can pronounce in the language {language!r} "
                    "(prepare.alignment.language)",
                )
            decoder.add_word(word, phones, True)
            added.add(word)


@functools.cache
def _added_words(decoder: Any) -> set[str]:
    """The words that were added to a decoder's dictionary, which grows as the process aligns."""
    return set()


def _score(segments: list[Any]) -> float:
    frames: int = sum(segment.end_frame - segment.start_frame + 1 for segment in segments)
    return sum(_SCORE_SCALE * math.log(max(segment.ascore, 1e-300)) for segment in segments) / frames
