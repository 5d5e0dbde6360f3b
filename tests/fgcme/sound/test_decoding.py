"""Sound files as samples of one channel: scale, channels, forms that cannot seek, and damage of every kind."""

import io
import random
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fgcme import audio
from fgcme.sound import AudioError, Decoded, decode
from fgcme.sound.decoding import CLIPPED, MIXED, ONE_CHANNEL, SCALED

RATE = 16_000
TONE = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)
NOISE = np.random.default_rng(0).normal(0, 0.1, (8, RATE))


def written(samples: np.ndarray, format: str = "WAV", subtype: str | None = None) -> io.BytesIO:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format=format, subtype=subtype)
    file.seek(0)
    return file


def decoded(*channels: np.ndarray, subtype: str | None = None, segment: tuple[float, float] | None = None) -> Decoded:
    return decode(written(np.stack(channels, axis=1), subtype=subtype), *(segment or (None, None)))


@pytest.mark.parametrize("scale", [2**15, 2**23, 2**31])
def test_floating_point_at_the_scale_of_integers_is_brought_to_one_and_said(scale: int) -> None:
    samples, _, oddities = decoded(scale * TONE, subtype="DOUBLE")
    np.testing.assert_allclose(samples, TONE, atol=1e-6)
    assert oddities == (SCALED,)


def test_a_quiet_segment_has_the_scale_of_its_file() -> None:
    quiet = np.concatenate([TONE[: RATE // 2] / 10_000, TONE[: RATE // 2]])
    samples, _, oddities = decoded(2**15 * quiet, subtype="FLOAT", segment=(0.0, 0.5))
    np.testing.assert_allclose(samples, quiet[: RATE // 2], atol=1e-8)
    assert oddities == (SCALED,)


@pytest.mark.parametrize("peak", [0.01, 1.0, 1.3, 7.9])
def test_loud_floating_point_stays_as_it_is(peak: float) -> None:
    samples, _, oddities = decoded(2 * peak * TONE, subtype="FLOAT")
    np.testing.assert_allclose(samples, 2 * peak * TONE, rtol=1e-6, atol=1e-7)
    assert SCALED not in oddities


@pytest.mark.parametrize("peak", [9.0, 200.0, 1e12])
def test_floating_point_of_no_known_scale_is_refused(peak: float) -> None:
    with pytest.raises(AudioError, match=r"holds floating point up to .*, where full scale is 1"):
        decoded(2 * peak * TONE, subtype="DOUBLE")


@pytest.mark.parametrize("other", [-1.0, -0.95, -0.7])
def test_of_channels_that_cancel_the_loudest_is_taken_and_said(other: float) -> None:
    samples, _, oddities = decoded(NOISE[0], other * NOISE[0])
    np.testing.assert_allclose(samples, NOISE[0], atol=1e-4)
    assert oddities == (ONE_CHANNEL,)


@pytest.mark.parametrize("count", [2, 8])
def test_unrelated_channels_are_averaged_and_so_is_one_beside_silence(count: int) -> None:
    samples, _, oddities = decoded(*NOISE[:count])
    np.testing.assert_allclose(samples, NOISE[:count].mean(axis=0), atol=1e-4)
    assert oddities == (MIXED,)
    assert decoded(NOISE[0], 0 * NOISE[0]).oddities == (MIXED,)


def test_a_recording_at_full_scale_counts_as_clipped() -> None:
    assert decoded(np.clip(4 * TONE, -1, 1)).oddities == (CLIPPED,)
    assert decoded(TONE).oddities == ()


@pytest.mark.parametrize("format, subtype", [("WAV", "GSM610"), ("AIFF", "GSM610"), ("WAV", "G721_32")])
def test_a_form_that_cannot_seek_is_read_on(format: str, subtype: str) -> None:
    file = written(TONE, format, subtype)
    whole = decode(file, None, None).samples
    assert len(whole) == pytest.approx(RATE, abs=400)
    assert np.abs(whole[1_000:15_000] - TONE[1_000:15_000]).mean() < 0.1
    np.testing.assert_array_equal(decode(file, 0.25, 0.75).samples, whole[RATE // 4 : 3 * RATE // 4])


def test_a_long_file_is_read_in_blocks_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(NOISE[:2].T, "FLAC")
    expected = decode(file, 0.1, 0.9).samples
    monkeypatch.setattr("fgcme.sound.decoding._BLOCK", 1_000)
    np.testing.assert_array_equal(decode(file, 0.1, 0.9).samples, expected)


def mutate(content: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """A damaged copy: bytes changed, lost, added, cut off, or another file's behind it."""
    damaged = bytearray(content)
    for _ in range(chance.choice([1, 2, 5, 40])):
        place = chance.randrange(min(len(damaged), chance.choice([64, len(content)])) + 1)
        what = chance.randrange(5)
        if what == 0:
            damaged[place : place + 1] = bytes([chance.choice([0, 255, chance.randrange(256)])])
        elif what == 1:
            del damaged[place : place + chance.randrange(200)]
        elif what == 2:
            damaged[place:place] = chance.randbytes(chance.randrange(50))
        elif what == 3:
            del damaged[chance.randrange(len(damaged) + 1) :]
        else:
            damaged += chance.choice(others)[: chance.randrange(3_000)]
    return bytes(damaged)


def test_whatever_is_damaged_is_read_or_refused_with_a_reason(tmp_path: Path) -> None:
    forms = [
        ("WAV", None),
        ("FLAC", None),
        ("OGG", None),
        ("MP3", None),
        ("AIFF", None),
        ("WAV", "GSM610"),
        ("AU", None),
    ]
    contents = [written(NOISE[0, :4_000], *form).getvalue() for form in forms]
    chance, end, outcomes = random.Random(0), time.monotonic() + 3, set()
    for number in range(400):
        (tmp_path / "a").write_bytes(mutate(contents[number % len(contents)], contents, chance))
        try:
            samples = audio.read(tmp_path / "a", *chance.choice([(None, None), (0.05, 0.1), (0.1, None)]))
        except AudioError as error:
            assert "\n" not in error.message
            outcomes.add(error.reason)
        else:
            assert np.isfinite(samples).all() and samples.size >= audio.WINDOW
            outcomes.add("read")
        if time.monotonic() > end:
            break
    assert {"read", "unreadable"} <= outcomes
