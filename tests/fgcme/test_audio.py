"""Audio files as mono samples at 16 kHz; what cannot be used is refused with its reason."""

import hashlib
import io
import math
import pickle
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fgcme import audio
from fgcme.audio import SAMPLE_RATE, AudioError


def tone(rate: int = SAMPLE_RATE, seconds: float = 1.0, hertz: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate).astype(np.float32)


def reason(source: object, **segment: float) -> str:
    with pytest.raises(AudioError) as caught:
        audio.read(source, **segment)  # type: ignore[arg-type]
    message = str(caught.value)
    assert message == caught.value.message
    assert "\n" not in message and "Traceback" not in message
    return caught.value.reason


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_any_rate_and_any_channels_become_mono_at_16_khz(tmp_path: Path, rate: int, channels: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.tile(tone(rate)[:, None], channels), rate)
    samples = audio.read(tmp_path / "a.wav")
    assert samples.dtype == np.float32 and samples.shape == (SAMPLE_RATE,)
    middle = slice(1_000, -1_000)
    np.testing.assert_allclose(samples[middle], tone()[middle], atol=0.005)


def test_frequencies_above_8_khz_are_not_aliased(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(48_000, hertz=11_000), 48_000)
    assert np.abs(audio.read(tmp_path / "a.wav")[1_000:-1_000]).max() < 0.005


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.aiff"])
def test_common_formats_are_read_from_path_text_and_stream(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / name, tone(), SAMPLE_RATE)
    samples = audio.read(tmp_path / name)
    assert len(samples) == SAMPLE_RATE
    np.testing.assert_array_equal(samples, audio.read(str(tmp_path / name)))
    np.testing.assert_array_equal(samples, audio.read(io.BytesIO((tmp_path / name).read_bytes())))


def test_channels_are_averaged(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([tone(), 0 * tone()], axis=1), SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_allclose(audio.read(tmp_path / "a.wav"), tone() / 2, atol=1e-6)


@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_a_segment_is_that_piece_of_the_file(tmp_path: Path, rate: int) -> None:
    soundfile.write(tmp_path / "a.flac", tone(rate), rate)
    piece = audio.read(tmp_path / "a.flac", start=0.25, end=0.75)
    assert piece.shape == (8_000,)
    np.testing.assert_allclose(piece[500:-500], tone()[4_500:11_500], atol=0.005)
    assert len(audio.read(tmp_path / "a.flac", start=0.25)) == 12_000
    assert len(audio.read(tmp_path / "a.flac", end=0.25)) == 4_000


def test_a_segment_may_exceed_the_file_by_a_rounding_error(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(), SAMPLE_RATE)
    assert len(audio.read(tmp_path / "a.wav", start=0.5, end=1.01)) == 8_000


@pytest.mark.parametrize("start, end", [(-1, 0.5), (0.5, 0.5), (0.6, 0.5), (0.5, 1.5), (1.0, 1.02), (float("nan"), 1)])
def test_a_segment_outside_the_file_is_refused(tmp_path: Path, start: float, end: float) -> None:
    soundfile.write(tmp_path / "a.wav", tone(), SAMPLE_RATE)
    assert reason(tmp_path / "a.wav", start=start, end=end) == "bad_segment"


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.aiff"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, share: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE)
    soundfile.write(tmp_path / name, noise, SAMPLE_RATE)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * share)])
    assert reason(tmp_path / name) == "unreadable"


def test_a_wav_written_to_a_pipe_is_read_without_a_length(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(), SAMPLE_RATE)
    content = bytearray((tmp_path / "a.wav").read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    assert len(audio.read(io.BytesIO(bytes(content)))) == SAMPLE_RATE


def test_what_is_odd_is_told_beside_the_samples(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([tone(8_000)] * 2, axis=1), 8_000)
    assert audio.record(tmp_path / "a.wav").oddities == ("mixed down to one channel", "resampled from another rate")
    soundfile.write(tmp_path / "b.wav", tone(), SAMPLE_RATE)
    assert audio.record(tmp_path / "b.wav").oddities == ()


def test_what_is_longer_than_the_limit_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """Half an hour of silence and a click has 40 kB as FLAC, and 115 MB decoded."""
    long = np.zeros(1800 * SAMPLE_RATE, np.int16)
    long[5] = 9_000
    soundfile.write(tmp_path / "long.flac", long, SAMPLE_RATE)
    tracemalloc.start()
    try:
        with pytest.raises(AudioError, match=r"long.flac lasts 1800.0 s, and 60 s are allowed") as refused:
            audio.read(tmp_path / "long.flac", limit=60)
        assert refused.value.reason == "too_long"
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    # The segment counts, not the file.
    assert len(audio.read(tmp_path / "long.flac", 0, 2, limit=2)) == 2 * SAMPLE_RATE
    assert reason(tmp_path / "long.flac", start=0, end=2.5, limit=2) == "too_long"


def test_the_limit_holds_memory_where_rates_and_channels_are_extreme(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "fast.wav", tone(384_000, 1.5), 384_000)
    assert reason(tmp_path / "fast.wav", limit=2) == "too_long"
    assert len(audio.read(tmp_path / "fast.wav", limit=3)) == 1.5 * SAMPLE_RATE
    soundfile.write(tmp_path / "wide.wav", np.tile(tone(seconds=3.0)[:, None], 100), SAMPLE_RATE)
    tracemalloc.start()
    try:
        samples = audio.read(tmp_path / "wide.wav")
        # 100 channels of 3 s are 19 MB.
        assert tracemalloc.get_traced_memory()[1] < 9_000_000
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(samples, tone(seconds=3.0), atol=1e-3)


def test_a_rate_that_is_none_is_refused(tmp_path: Path) -> None:
    """The filter from it to 16 kHz would have millions of values."""
    soundfile.write(tmp_path / "a.wav", tone(), 383_987)
    with pytest.raises(AudioError, match="383987 samples a second, which is no rate of a recording"):
        audio.read(tmp_path / "a.wav")


@pytest.mark.parametrize(
    "content, expected",
    [
        (b"", "empty"),
        (b"just a text\n", "unreadable"),
        (bytes(range(256)) * 40, "unreadable"),
        (b"version https://git-lfs.example/spec/v1\noid sha256:0\nsize 12\n", "lfs_pointer"),
    ],
)
def test_files_that_are_not_audio_are_refused_with_the_reason(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    assert reason(tmp_path / "a.wav") == expected
    assert reason(io.BytesIO(content)) == expected


def test_a_missing_file_and_a_folder_have_different_reasons(tmp_path: Path) -> None:
    assert reason(tmp_path / "a.wav") == "missing"
    assert reason(tmp_path) == "unreadable"


@pytest.mark.parametrize(
    "samples, expected",
    [
        (np.zeros(0), "empty"),
        (tone()[:399], "too_short"),
        (np.zeros(SAMPLE_RATE), "silent"),
        (np.full(SAMPLE_RATE, 0.25), "silent"),
        (np.append(tone(), np.nan), "unreadable"),
    ],
)
def test_samples_without_speech_are_refused(tmp_path: Path, samples: np.ndarray, expected: str) -> None:
    soundfile.write(tmp_path / "a.wav", samples, SAMPLE_RATE, subtype="FLOAT")
    assert reason(tmp_path / "a.wav") == expected


def test_one_quiet_window_is_accepted(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", 0.001 * tone()[:400], SAMPLE_RATE, subtype="FLOAT")
    assert audio.read(tmp_path / "a.wav").shape == (400,)


def test_an_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(AudioError("silent", "a.wav is digital silence")))
    assert (error.reason, str(error)) == ("silent", "a.wav is digital silence")


def test_the_hash_follows_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"one")
    assert audio.sha256(path) == hashlib.sha256(b"one").hexdigest()
    path.write_bytes(b"three")
    assert audio.sha256(str(path)) == hashlib.sha256(b"three").hexdigest()
    with pytest.raises(AudioError, match="does not exist"):
        audio.sha256(tmp_path / "other.wav")


@pytest.mark.parametrize("step", [160, 320, 480])
def test_a_span_at_another_rate_holds_the_frames_that_meet_it(step: int) -> None:
    """Begins are rounded down, ends up; within the utterance, a span that was not empty stays so, and no other does."""
    generator = np.random.default_rng(0)
    for _ in range(200):
        edges = np.sort(generator.integers(0, 60, 8)).astype(np.int32)
        begin, end = edges[:-1], edges[1:]
        count = audio.frames_within(60, step) - int(generator.integers(0, 3) if step > 160 else 0)
        first, last = audio.spans_at(begin, end, step, count)
        assert ((last > first) == (end > begin)).all()
        assert first.min() >= 0 and last.max() <= count
        for old, new in zip(zip(begin, end, strict=True), zip(first, last, strict=True), strict=True):
            met = {frame * 160 // step for frame in range(*old)}
            assert {frame for frame in met if frame < count} <= set(range(*new))
            assert len(range(*new)) <= max(len(met), 1)


def test_spans_of_10_ms_stay_as_they_are() -> None:
    begin, end = np.array([3, 90]), np.array([5, 120])
    assert audio.spans_at(begin, end, audio.HOP, 100) == (begin, end)


@pytest.mark.parametrize("speed", [0.9, 1.1, 2.0])
def test_a_copy_is_shorter_and_higher_by_its_speed(speed: float) -> None:
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    samples = (0.5 * np.sin(2 * np.pi * 500 * time)).astype(np.float32)
    copy = audio.at_speed(samples, speed)
    assert copy.dtype == np.float32 and copy.size == pytest.approx(samples.size / speed, abs=1)
    hertz = np.fft.rfftfreq(copy.size, 1 / SAMPLE_RATE)[np.abs(np.fft.rfft(copy)).argmax()]
    assert hertz == pytest.approx(500 * speed, abs=1)
    # In the middle, where the filter meets no edge, it is the same wave.
    middle = slice(copy.size // 4, copy.size // 2)
    wave = 0.5 * np.sin(2 * np.pi * 500 * speed * np.arange(copy.size) / SAMPLE_RATE)
    np.testing.assert_allclose(copy[middle], wave[middle], atol=5e-3)


def test_a_copy_that_no_features_can_be_made_from_is_refused_by_its_speed() -> None:
    with pytest.raises(AudioError, match=r"the copy at speed 1\.1 lasts 22\.8 ms, less than one window"):
        audio.at_speed(tone()[:400], 1.1)


@pytest.mark.parametrize("step", [160, 320])
@pytest.mark.parametrize("speed", [0.9, 1.1])
def test_a_span_of_a_copy_holds_the_frames_that_meet_its_times_divided_by_the_speed(step: int, speed: float) -> None:
    begin, end = np.array([0, 11, 11, 50], np.int32), np.array([11, 11, 33, 60], np.int32)
    count = audio.frames_within(round(60 / speed), step)
    first, last = audio.spans_at(begin, end, step, count, speed)
    rate = Fraction(speed).limit_denominator(100)
    for old, new in zip(zip(begin, end, strict=True), zip(first, last, strict=True), strict=True):
        seconds = [Fraction(int(edge), 100) / rate for edge in old]
        met = [edge * SAMPLE_RATE / step for edge in seconds]
        expected = (math.floor(met[0]), min(math.ceil(met[1]), count)) if old[0] < old[1] else (new[0], new[0])
        assert (int(new[0]), int(new[1])) == expected
    assert audio.stretch_at((11, 33), step, count, speed) == (first[2], last[2])
