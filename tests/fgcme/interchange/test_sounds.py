"""The sound of an utterance: its file as it is, or what is cut out of a longer one."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fgcme.interchange import PreparedUtterance, Told
from fgcme.interchange.sounds import CUT, UNREAD, name_of, row_of, sound_of
from tests.odd_utterances import ODD


@pytest.fixture
def whole(tmp_path: Path) -> PreparedUtterance:
    """An utterance of a file of two seconds at 8 kHz, a ramp."""
    path = tmp_path / "a.wav"
    soundfile.write(path, np.linspace(-0.5, 0.5, 16_000), 8_000)
    return replace(ODD[0], audio=str(path), duration=2.0)


def test_a_whole_file_is_taken_as_it_is(whole: PreparedUtterance) -> None:
    told = Told()
    assert sound_of(whole, told) == Path(whole.audio)
    assert told.counts == {}
    assert name_of(7, whole, Path(whole.audio)) == "000007.wav"


def test_a_part_is_cut_out_and_told(whole: PreparedUtterance) -> None:
    told = Told()
    sound = sound_of(replace(whole, start=1.0, duration=0.5), told)
    assert isinstance(sound, bytes)
    samples, rate = soundfile.read(io.BytesIO(sound))
    assert (len(samples), rate) == (8_000, 16_000)
    # Away from its edges, where the filter of the other rate rings.
    assert samples[1000:-1000] == pytest.approx(np.linspace(0, 0.25, 8_000)[1000:-1000], abs=1e-3)
    assert told.counts == {CUT: 1} and name_of(7, whole, sound) == "000007.flac"


def test_a_file_that_is_gone_is_told(whole: PreparedUtterance) -> None:
    told = Told()
    assert sound_of(replace(whole, audio="/gone.wav"), told) is None
    assert told.counts == {UNREAD: 1}


def test_a_row_says_what_is_known_of_the_utterance(whole: PreparedUtterance) -> None:
    row = row_of(whole)
    assert (row["id"], row["label"], row["session"], row["alignment"]) == ("plain", "happy", "Ses01", "sphinx")
    assert row["word_times"][0] == {"word": "kids", "start": 0.1, "end": 0.42}
