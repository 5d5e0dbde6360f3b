"""A recording of any length becomes utterances that a model hears whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from fgcme import alignment
from fgcme.alignment import Alignment, AlignmentError
from fgcme.audio import AudioError, Samples
from fgcme.serving import recordings
from fgcme.serving.recordings import Piece, pieces_of

NOISE = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)


def never(samples: Samples, text: str) -> Alignment:
    raise AssertionError("nothing has to be aligned")


def spread(samples: Samples, text: str) -> Alignment:
    return alignment.build("uniform").align("", samples, text)


def two_words(samples: Samples, text: str) -> Alignment:
    """The two bursts of `long`."""
    return Alignment(text.lower().split(), [100, 400], [200, 500], "sphinx", -1.0)


@pytest.fixture
def long(tmp_path: Path) -> Path:
    """6 s: silence, a burst from 1 to 2 s, silence, a burst from 4 to 5 s, silence."""
    quiet = np.zeros(16_000, np.float32)
    soundfile.write(tmp_path / "a.wav", np.concatenate([quiet, NOISE, quiet, quiet, NOISE, quiet]), 16_000)
    return tmp_path / "a.wav"


@pytest.mark.parametrize("text", [None, "the door"])
def test_what_is_no_longer_than_an_utterance_may_be_stays_as_it_is(long: Path, text: str | None) -> None:
    assert pieces_of(long, None, None, text, 6, never) == [Piece(0, None, text)]
    assert pieces_of(long, 0.5, 3.5, text, 3, never) == [Piece(0.5, 3.5, text)]


def test_without_words_pauses_part_a_longer_one_in_seconds_of_the_file(long: Path) -> None:
    first, second = pieces_of(long, None, None, None, 5, never)
    assert (first.begin, first.end) == (pytest.approx(0.8, abs=0.05), pytest.approx(2.2, abs=0.05))
    assert (second.begin, second.end) == (pytest.approx(3.8, abs=0.05), pytest.approx(5.2, abs=0.05))
    (inner,) = pieces_of(long, 3, 6, None, 2.5, never)
    assert inner.begin == pytest.approx(3.8, abs=0.05)


def test_a_recording_is_read_part_by_part_and_cut_as_if_it_were_not(
    long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pieces_of(long, None, None, None, 5, never)
    # Among the parts one of digital silence.
    monkeypatch.setattr(recordings, "_AT_ONCE", 1)
    assert pieces_of(long, None, None, None, 5, never) == whole


def test_with_words_a_longer_one_is_cut_between_them_and_each_part_has_its_own(long: Path) -> None:
    assert pieces_of(long, None, None, "The door", 5, two_words) == [Piece(0.8, 2.2, "the"), Piece(3.8, 5.2, "door")]


def test_a_long_one_whose_words_cannot_be_aligned_is_refused_with_the_way_out(
    long: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AlignmentError, match=r"a\.wav: its transcript cannot be aligned with all 6 s.* manifest"):
        pieces_of(long, None, None, "the door", 5, spread)
    monkeypatch.setattr(recordings, "_MOST_ALIGNED", 5.5)
    with pytest.raises(AlignmentError, match="6 s are too long to be aligned with one transcript"):
        pieces_of(long, None, None, "the door", 5, never)


def test_a_file_that_is_no_recording_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("nothing")
    with pytest.raises(AudioError, match="not audio"):
        pieces_of(tmp_path / "a.wav", None, None, None, 5, never)
