"""The frames of an MP3 file, counted whatever its header says."""

import io
from itertools import pairwise

import numpy as np
import pytest
import soundfile

from fgcme.sound import mp3


def encode(seconds: float, rate: int = 16_000, **options: object) -> bytes:
    noise = np.random.default_rng(0).normal(0, 0.1, round(seconds * rate))
    file = io.BytesIO()
    soundfile.write(file, noise, rate, format="MP3", **options)
    return file.getvalue()


def length(content: bytes) -> int:
    with soundfile.SoundFile(io.BytesIO(content)) as file:
        return int(file.frames)


def sound(content: bytes) -> np.ndarray:
    samples, _ = soundfile.read(io.BytesIO(content))
    return np.asarray(samples)


@pytest.mark.parametrize("rate, samples", [(44_100, 1152), (16_000, 576), (8_000, 576)])
def test_frames_lie_end_to_end_and_are_as_many_as_the_encoder_says(rate: int, samples: int) -> None:
    content = encode(2.0, rate)
    stated, frames = mp3.count_frames(content)
    assert stated == len(frames)
    assert (len(frames) - 3) * samples <= 2 * rate <= len(frames) * samples
    assert all(before.start + before.size == after.start for before, after in pairwise(frames))
    assert frames[-1].start + frames[-1].size == len(content)


def test_tags_and_other_bytes_around_the_frames_do_not_count() -> None:
    content = encode(1.0)
    expected = len(mp3.count_frames(content).frames)
    # A tag whose size is 300, seven bits a byte; an older tag behind the sound; bytes that look like a header alone.
    tagged = b"ID3\x03\x00\x00\x00\x00\x02\x2c" + bytes(300) + content + b"TAG" + bytes(125)
    assert len(mp3.count_frames(tagged).frames) == expected
    assert len(mp3.count_frames(b"\xff\xfb\x90\x00" + bytes(50) + content).frames) == expected


def test_a_frame_that_is_cut_off_does_not_count() -> None:
    content = encode(1.0)
    assert len(mp3.count_frames(content[:-1]).frames) == len(mp3.count_frames(content).frames) - 1
    assert mp3.count_frames(b"").frames == mp3.count_frames(b"\xff" * 50).frames == []


@pytest.mark.parametrize("rate", [44_100, 16_000])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
def test_the_true_length_is_that_of_all_frames_and_the_sound_stays(rate: int, mode: str) -> None:
    content = encode(2.0, rate, bitrate_mode=mode, compression_level=0.5)
    counted = mp3.count_frames(content)
    whole = mp3.with_true_length(content, counted)
    samples = 1152 if rate == 44_100 else 576
    # The decoder takes its own delay away.
    assert length(whole) == len(counted.frames) * samples - 529 == len(sound(whole))
    # The encoder's own silence at the start, which the header would have taken away, stays.
    delay = len(sound(whole)) - len(sound(content))
    shifts = [np.abs(sound(whole)[shift : shift + 2 * rate] - sound(content)).max() for shift in range(delay + 1)]
    assert min(shifts) < 1e-3
