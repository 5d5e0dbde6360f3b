"""Files whose headers do not say how long they are, or not truly, are read to their real end or refused."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fgcme.sound import AudioError
from fgcme.sound.containers import MISSTATED, WITHOUT_END
from fgcme.sound.decoding import decode

RATE = 16_000


def encode(format: str, seconds: float = 1.0, rate: int = RATE, seed: int = 0, **options: object) -> bytes:
    samples = np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate))
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format, **options)
    return file.getvalue()


def seconds(content: bytes, *oddities: str) -> float:
    decoded = decode(io.BytesIO(content), None, None)
    assert decoded.oddities == oddities
    return len(decoded.samples) / decoded.rate


def refusal(content: bytes) -> str:
    with pytest.raises(AudioError) as caught:
        decode(io.BytesIO(content), None, None)
    assert caught.value.reason == "unreadable"
    return caught.value.message


def without_header(content: bytes) -> bytes:
    """An MP3 file as it is written to a pipe: nobody went back to its first frame."""
    place = max(content.find(b"Xing"), content.find(b"Info"))
    return content[:place] + bytes(4) + content[place + 4 :]


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_an_mp3_without_a_header_is_read_to_its_end(mode: str) -> None:
    # Its first frames are of few bits, by which its length would be estimated.
    quiet, loud = np.zeros(3 * RATE), np.random.default_rng(0).normal(0, 0.1, 3 * RATE)
    file = io.BytesIO()
    samples = np.concatenate([quiet, loud, quiet])
    soundfile.write(file, samples, RATE, format="MP3", bitrate_mode=mode, compression_level=0.5)
    content = without_header(file.getvalue())
    assert seconds(content, MISSTATED) == pytest.approx(9, abs=0.15)
    decoded = decode(io.BytesIO(content), None, None)
    assert np.abs(decoded.samples[4 * RATE : 5 * RATE]).mean() == pytest.approx(np.abs(loud).mean(), rel=0.2)


@pytest.mark.parametrize("format", ["MP3", "OGG", "FLAC"])
def test_files_joined_into_one_are_read_one_after_the_other(format: str) -> None:
    first, second = encode(format, 1.0, seed=1), encode(format, 2.0, seed=2)
    assert seconds(first + second, MISSTATED) == pytest.approx(3, abs=0.15)
    # A piece of the second file is found where it is.
    whole, alone = decode(io.BytesIO(first + second), None, None), decode(io.BytesIO(second), None, None)
    delay = len(whole.samples) - len(alone.samples) - RATE
    piece = decode(io.BytesIO(first + second), 2.0, 2.5)
    np.testing.assert_array_equal(piece.samples, whole.samples[2 * RATE : 2 * RATE + RATE // 2])
    assert 0 <= delay < 0.15 * RATE


@pytest.mark.parametrize("format", ["MP3", "OGG", "FLAC"])
def test_joined_files_of_different_rates_are_refused(format: str) -> None:
    assert "several recordings of different kinds" in refusal(encode(format, 1.0) + encode(format, 1.0, rate=8_000))


def test_a_flac_without_a_length_is_read_to_its_end() -> None:
    content = bytearray(encode("FLAC", 3.0))
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    assert seconds(bytes(content)) == 3
    piece = decode(io.BytesIO(bytes(content)), 1.0, 2.5)
    np.testing.assert_array_equal(piece.samples, decode(io.BytesIO(encode("FLAC", 3.0)), 1.0, 2.5).samples)
    with pytest.raises(AudioError, match=r"lasts 3\.00 s and has no segment from 2 s to 4 s"):
        decode(io.BytesIO(bytes(content)), 2.0, 4.0)


@pytest.mark.parametrize("stated", [0, 0xFFFFFFFF])
def test_a_wav_that_states_no_length_is_read_to_its_end(stated: int) -> None:
    content = bytearray(encode("WAV"))
    content[40:44] = stated.to_bytes(4, "little")
    assert seconds(bytes(content), *([MISSTATED] if not stated else [])) == 1


def test_a_wav_with_more_sound_than_it_states_is_refused() -> None:
    content = bytearray(encode("WAV"))
    content[40:44] = (1_000).to_bytes(4, "little")
    assert "holds 31000 bytes more than its header states" in refusal(bytes(content))
    assert refusal(encode("WAV") + encode("WAV"))


def test_a_wav_may_have_chunks_or_a_few_bytes_behind_its_sound(tmp_path: Path) -> None:
    for rest in (b"LIST" + (4).to_bytes(4, "little") + b"INFO", b"id3 " + (5_000).to_bytes(4, "little") + bytes(5_000)):
        assert seconds(encode("WAV") + rest) == 1
    assert seconds(encode("WAV") + bytes(500)) == 1


def test_an_mp3_with_fewer_frames_than_it_states_is_cut_short() -> None:
    content = encode("MP3", 2.0)
    assert "is cut short" in refusal(content[: len(content) // 2])


def test_an_ogg_without_its_end_says_so() -> None:
    content = encode("OGG", 4.0)
    assert 0 < seconds(content[: len(content) // 2], WITHOUT_END) < 4
    assert seconds(content) == 4


@pytest.mark.parametrize("rate", [10, 2_000_000_000])
def test_a_rate_that_nobody_records_at_is_refused(rate: int) -> None:
    content = bytearray(encode("WAV"))
    content[24:28] = rate.to_bytes(4, "little")
    assert f"states {rate} samples a second" in refusal(bytes(content))
