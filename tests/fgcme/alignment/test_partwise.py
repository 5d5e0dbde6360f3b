"""What is longer than an aligner hears is aligned in parts that it hears, and nothing of a short recording changes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fgcme.alignment import AlignmentError
from fgcme.alignment.contract import Alignment, edge_seconds
from fgcme.alignment.partwise import IN_PARTS, PartwiseAligner
from fgcme.alignment.sphinx import SphinxAligner
from fgcme.alignment.uniform import TOO_LONG, TOO_MUCH_TEXT, UniformAligner, spread_words
from fgcme.audio import SAMPLE_RATE, Samples
from tests.speech import say

SENTENCES = ["open the window before dinner please", "my sister bought a yellow pencil"] * 3


class Hearing:
    """Sphinx, which notes how long what it hears is, and what it is told."""

    def __init__(self, lost: str = "") -> None:
        self.seconds: list[float] = []
        self.texts: list[str] = []
        self._lost = lost

    def align(self, utterance_id: str, samples: Samples, text: str) -> Alignment:
        self.seconds.append(samples.size / SAMPLE_RATE)
        self.texts.append(text)
        if self._lost and self._lost in text:
            return spread_words(text.split(), samples, TOO_MUCH_TEXT)
        return SphinxAligner().align(utterance_id, samples, text)


def spoken() -> tuple[Samples, str, list[float]]:
    """Sentences with pauses between them, and when each word begins."""
    parts, onsets, at = [], [], 0
    for number, sentence in enumerate(SENTENCES):
        samples, words = say(sentence)
        pause = np.random.default_rng(number).normal(0, 1e-4, 6_000 + 1_500 * number).astype(np.float32)
        onsets += [at / SAMPLE_RATE + onset for _, onset in words]
        parts += [samples, pause]
        at += samples.size + pause.size
    return np.concatenate(parts), " ".join(SENTENCES), onsets


def test_a_long_recording_is_aligned_part_by_part_with_each_word_at_its_place() -> None:
    samples, text, onsets = spoken()
    hearing = Hearing()
    found = PartwiseAligner(hearing, SphinxAligner, seconds=4).align("a", samples, text)
    assert len(hearing.seconds) > 4 and max(hearing.seconds) < 4.5
    assert " ".join(hearing.texts) == text == " ".join(found.words)
    assert (found.method, found.oddities) == ("sphinx", (IN_PARTS,))
    assert all(end <= begin for end, begin in zip(found.end, found.begin[1:], strict=False))
    errors = np.abs([edge_seconds(edge) - true for edge, true in zip(found.begin, onsets, strict=True)])
    assert np.median(errors) < 0.05 and errors.max() < 0.3


def test_parts_may_be_shorter_than_what_is_aligned_as_it_is() -> None:
    samples, text, _ = spoken()
    whole, cut = Hearing(), Hearing()
    PartwiseAligner(whole, SphinxAligner, samples.size / SAMPLE_RATE, 4).align("a", samples, text)
    PartwiseAligner(cut, SphinxAligner, samples.size / SAMPLE_RATE - 1, 4).align("a", samples, text)
    assert whole.seconds == [samples.size / SAMPLE_RATE]
    assert len(cut.seconds) > 4 and max(cut.seconds) < 4.5


def test_what_the_aligner_hears_is_aligned_as_it_would_be_alone() -> None:
    samples, _ = say(SENTENCES[0])
    hearing = Hearing()
    found = PartwiseAligner(hearing, UniformAligner, seconds=samples.size / SAMPLE_RATE).align(
        "a", samples, SENTENCES[0]
    )
    assert found == SphinxAligner().align("a", samples, SENTENCES[0])
    assert len(hearing.seconds) == 1


def test_a_part_whose_words_are_lost_is_spread_and_said_and_the_others_are_scored() -> None:
    samples, text, _ = spoken()
    whole = PartwiseAligner(Hearing(), SphinxAligner, seconds=4).align("a", samples, text)
    found = PartwiseAligner(Hearing(lost="pencil"), SphinxAligner, seconds=4).align("a", samples, text)
    assert (found.method, found.oddities) == ("sphinx", (IN_PARTS, TOO_MUCH_TEXT))
    first = slice(0, len(SENTENCES[0].split()))
    assert found.begin[first] == whole.begin[first]
    assert math.isfinite(found.score) and found.score != whole.score


def test_where_nobody_finds_the_words_all_are_spread_and_said() -> None:
    samples, text, _ = spoken()
    hearing = Hearing()
    found = PartwiseAligner(hearing, UniformAligner, seconds=4).align("a", samples, text)
    assert (found.method, found.oddities, hearing.texts) == ("uniform", (TOO_LONG,), [])


def test_a_long_recording_without_words_is_refused() -> None:
    samples, _, _ = spoken()
    with pytest.raises(AlignmentError):
        PartwiseAligner(Hearing(), SphinxAligner, seconds=4).align("a", samples, "…")
