"""Synthesis with libespeak-ng: repeatable, with true onsets and prosody by word."""

import numpy as np
import pytest

from fgcme.corpora.espeak import SAMPLE_RATE, SynthesisedSpeech, Voice, Word, speak
from fgcme.errors import UserError

VOICE = Voice("en-us+f2")
WORDS = [Word(text) for text in ("we", "talked", "about", "the", "garden", "and", "the", "window")]


def noun(speech: SynthesisedSpeech) -> np.ndarray:
    """The samples of `garden`."""
    begin, end = (round(speech.onsets[word] * SAMPLE_RATE) for word in (4, 5))
    return speech.samples[begin:end].astype(float)


def energy(samples: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(samples**2)))


def pitch(samples: np.ndarray) -> float:
    """Median over voiced windows of the strongest period between 60 and 450 Hz."""
    found = []
    for begin in range(0, len(samples) - 1024, 256):
        spectrum = np.fft.rfft(samples[begin : begin + 1024] * np.hanning(1024), 2048)
        correlation = np.fft.irfft(np.abs(spectrum) ** 2)
        shortest, longest = SAMPLE_RATE // 450, SAMPLE_RATE // 60
        period = shortest + int(correlation[shortest:longest].argmax())
        if correlation[period] > 0.5 * correlation[0]:
            found.append(SAMPLE_RATE / period)
    return float(np.median(found))


def test_the_same_utterances_always_give_the_same_samples() -> None:
    utterances = [(VOICE, WORDS), (Voice("en-us+m1"), WORDS)]
    first, second = speak(utterances), speak(utterances)
    assert all(np.array_equal(one.samples, other.samples) for one, other in zip(first, second, strict=True))
    assert [speech.onsets for speech in first] == [speech.onsets for speech in second]


def test_every_word_has_its_onset_in_order_and_in_the_speech() -> None:
    (speech,) = speak([(VOICE, WORDS)])
    assert speech.samples.dtype == np.int16
    assert len(speech.onsets) == len(WORDS)
    assert np.all(np.diff(speech.onsets) > 0.02)
    assert speech.onsets[0] >= 0
    assert speech.onsets[-1] < len(speech.samples) / SAMPLE_RATE - 0.1


def test_a_single_word_can_be_higher_louder_and_slower() -> None:
    def said(**prosody: float) -> SynthesisedSpeech:
        (speech,) = speak([(VOICE, [Word("garden", **prosody) if word.text == "garden" else word for word in WORDS])])
        return speech

    plain, higher, louder, slower = said(), said(pitch=1.5), said(volume=1.5), said(rate=0.7)
    assert pitch(noun(higher)) > 1.15 * pitch(noun(plain))
    assert energy(noun(louder)) == pytest.approx(energy(noun(plain)) + 3.5, abs=0.7)
    assert len(noun(slower)) > 1.2 * len(noun(plain))
    assert louder.onsets == pytest.approx(plain.onsets, abs=0.03)


def test_an_unknown_voice_is_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"voice 'xx\+nobody' is unknown"):
        speak([(Voice("xx+nobody"), WORDS)])


def test_words_run_together_are_refused_with_their_sentence() -> None:
    with pytest.raises(UserError, match="'stay with the garden': 4 words were spoken as 3"):
        speak([(VOICE, [Word(text) for text in ("stay", "with", "the", "garden")])])
