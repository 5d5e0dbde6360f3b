"""What PocketSphinx is given, and what it gives."""

from __future__ import annotations

import numpy as np

from fgcme.alignment.sphinx_decoder import (
    ENGLISH,
    add_missing_words,
    build_decoder,
    build_phone_loop,
    decode,
    is_word,
    log_likelihood,
    normalise_level,
    to_pcm,
    word_of,
)
from fgcme.audio import SAMPLE_RATE
from tests.speech import say

TEXT = "open the window before dinner please"


def test_samples_become_16_bits_each_and_what_is_too_loud_is_cut() -> None:
    samples = np.array([0.0, 0.5, -0.5, 2.0, -2.0], np.float32)
    assert np.frombuffer(to_pcm(samples), "<i2").tolist() == [0, 16_383, -16_383, 32_767, -32_767]
    # Longer than what is converted at once, nothing is left out.
    long = np.arange(61 * SAMPLE_RATE, dtype=np.float32) % 7 / 8
    assert np.array_equal(np.frombuffer(to_pcm(long), "<i2"), (long * 32_767).astype("<i2"))


def test_a_path_goes_to_the_end_of_the_text_or_stops_where_the_sound_does() -> None:
    decoder = build_decoder("wide", ENGLISH)
    samples = normalise_level(say(TEXT)[0])
    words = [*TEXT.split(), *("seven brown horses jumped over a garden fence " * 9).split()]
    decoder.set_align_text(" ".join(words))
    assert decode(decoder, samples, to_the_end=True) is None
    stopped = [segment for segment in decode(decoder, samples, to_the_end=False) or [] if is_word(segment)]
    assert [word_of(segment) for segment in stopped] == TEXT.split()


def test_any_phones_fit_speech_about_as_well_as_its_words_and_better_than_others() -> None:
    samples = normalise_level(say(TEXT)[0])

    def fit(text: str) -> float:
        decoder = build_decoder("wide", ENGLISH)
        add_missing_words(decoder, ENGLISH, text.split())
        decoder.set_align_text(text)
        return sum(log_likelihood(segment) for segment in decode(decoder, samples, to_the_end=False) or [])

    segments = decode(build_phone_loop(), samples, to_the_end=False) or []
    frames = sum(segment.end_frame - segment.start_frame + 1 for segment in segments)
    phones = sum(log_likelihood(segment) for segment in segments)
    assert len(segments) > 15
    assert fit("she sells cheap purple shoes") + 0.7 * frames < phones < fit(TEXT) + 0.7 * frames
