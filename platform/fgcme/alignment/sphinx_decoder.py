"""PocketSphinx's decoders, what they hear, and the words that they know."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from fgcme.alignment.contract import AlignmentError
from fgcme.alignment.phonemes import pronounce_in
from fgcme.alignment.pronunciation import pronounce
from fgcme.audio import SAMPLE_RATE, Samples

ENGLISH = "en"
"""The language of the dictionary that comes with PocketSphinx."""

# No language model decides here, so probabilities count as they are: weighted as beside one, silence would be so
# unlikely that the first word takes the one before it.
_SILENCE: dict[str, float] = {"lw": 1.0, "silprob": 0.1}
# Paths this much less likely than the best are dropped; `wide` keeps nearly all, and is a third slower.
_BEAMS: dict[str, dict[str, float]] = {"normal": {}, "wide": {"beam": 1e-150, "pbeam": 1e-150, "wbeam": 1e-150}}
# PocketSphinx shifts the logarithm of path scores right by ten bits.
_SCORE_SCALE = 1 << 10
# The decoder numbers alternate pronunciations: `the(2)`.
_ALTERNATE = re.compile(r"\(\d+\)$")
# Peak that samples are scaled to; full scale is 1.
_PEAK = 0.5
# Samples that are converted at once.
_AT_ONCE = 60 * SAMPLE_RATE
# The phones of the model, and how the loop through them is searched: roughly, as it only tells how well any phones fit.
_PHONES = "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH"
_ROUGHLY: dict[str, float] = {"ds": 2, "beam": 1e-10, "pbeam": 1e-10, "wbeam": 1e-6}


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
def build_decoder(beam: str, language: str) -> Any:
    """The decoder of this process for a beam, `normal` or `wide`, and a language's words."""
    import pocketsphinx

    # English words are no words of other languages: those start without a dictionary.
    dictionary = {} if language == ENGLISH else {"dict": None}
    options = {**_BEAMS[beam], **_SILENCE, **dictionary}
    # The lattice's best path (`bestpath`) may end before the last word.
    return pocketsphinx.Decoder(lm=None, loglevel="FATAL", samprate=SAMPLE_RATE, bestpath=False, **options)


def add_missing_words(decoder: Any, language: str, words: Sequence[str]) -> None:
    """Add the words that the dictionary lacks, each pronounced as if no other had been added.

    Args:
        decoder: see `build_decoder`.
        language: of the words.
        words: normalised words.

    Raises:
        AlignmentError: `oov`, a word has no sounds in that language.
    """
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


@functools.cache
def build_phone_loop() -> Any:
    """The decoder of this process that hears any phones in any order."""
    import pocketsphinx

    phones = _PHONES.split()
    decoder = pocketsphinx.Decoder(
        lm=None, dict=None, loglevel="FATAL", samprate=SAMPLE_RATE, bestpath=False, **_ROUGHLY, **_SILENCE
    )
    for phone in phones:
        decoder.add_word(phone.lower(), phone, True)
    loop = [(0, 0, 1 / len(phones), phone.lower()) for phone in phones]
    decoder.add_fsg("phones", decoder.create_fsg("phones", 0, 0, loop))
    decoder.activate_search("phones")
    return decoder


def decode(decoder: Any, samples: Samples, to_the_end: bool) -> list[Any] | None:
    """The segments, words and silences, of the likeliest path through what the decoder was told; None without one.

    Args:
        decoder: one whose search is chosen.
        samples: [samples] mono at 16 kHz, levelled.
        to_the_end: whether a path has to reach the end of the text, or may stop after any word.
    """
    # Forget the noise estimate of the previous utterance: it would move the spans of this one.
    decoder.reinit_feat()
    decoder.start_utt()
    decoder.process_raw(to_pcm(samples), full_utt=True)
    if to_the_end:
        decoder.end_utt()
        return list(decoder.seg()) if decoder.hyp() is not None else None
    # Until the utterance is ended, the decoder does not ask where in the text a path stops.
    segments = list(decoder.seg()) if decoder.hyp() is not None else None
    decoder.end_utt()
    return segments


def is_word(segment: Any) -> bool:
    """Whether a segment is a word, and no silence or noise."""
    return not segment.word.startswith(("<", "["))


def word_of(segment: Any) -> str:
    """The word of a segment, whichever of its pronunciations was heard."""
    return _ALTERNATE.sub("", segment.word)


def log_likelihood(segment: Any) -> float:
    """The acoustic log-likelihood of a segment, in nats, relative to the likeliest state of each of its frames."""
    return _SCORE_SCALE * math.log(max(segment.ascore, 1e-300))
