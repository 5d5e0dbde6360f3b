"""Audio files as mono samples at 16 kHz, and the grid of frames of 10 ms over them."""

from __future__ import annotations

import functools
import hashlib
from math import gcd
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from fgcme.sound import MIXED, Source, check_source, decode
from fgcme.sound import AudioError as AudioError
from fgcme.sound import Samples as Samples

SAMPLE_RATE = 16_000
WINDOW = 400
"""Samples of one frame: 25 ms."""
HOP = 160
"""Samples from one frame to the next: 10 ms. Frame i looks at samples [HOP * i, HOP * i + WINDOW)."""

RESAMPLED = "resampled from another rate"
ORDINARY = frozenset({RESAMPLED, MIXED})
"""What happens to many recordings, and is no reason to doubt them."""

# Two steps of 16-bit audio: the dither or rounding error of digital silence.
_SILENCE = 2 / 32_768
# Of the largest factor of a rate that 16 kHz lacks: the filter between them has 20 times as many values.
_LARGEST_FACTOR = 100_000


def frame_count(sample_count: int) -> int:
    """Number of frames, that is of whole windows, in that many samples.

    >>> frame_count(399), frame_count(400), frame_count(16_000)
    (0, 1, 98)
    """
    return max(0, 1 + (sample_count - WINDOW) // HOP)


def frames_within(count: int, frame_step: int) -> int:
    """How many frames at another rate cover so many frames of 10 ms.

    >>> frames_within(101, HOP), frames_within(101, 2 * HOP)
    (101, 51)
    """
    return -(-count * HOP // frame_step)


def spans_at(
    begin: npt.NDArray[np.integer], end: npt.NDArray[np.integer], frame_step: int, count: int, speed: float = 1.0
) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]:
    """Spans of frames of 10 ms as spans of frames at another rate, or speed: begins rounded down, ends up.

    Args:
        begin: [W] first frame of 10 ms of each word.
        end: [W] the frame of 10 ms after its last.
        frame_step: samples from one frame of the other rate to the next.
        count: frames of the other rate that the utterance has.
        speed: of the copy that has the other frames, see `at_speed`; its times are those of `begin` and `end`, divided
            by the speed.

    Returns:
        The new `begin` and `end`, within the utterance; a span that was not empty is not.

    >>> spans_at(np.array([0, 5, 9]), np.array([5, 8, 12]), 2 * HOP, count=5)
    (array([0, 2, 4]), array([3, 4, 5]))
    """
    if frame_step == HOP and speed == 1:
        return begin, end
    empty = end <= begin
    # In whole numbers: a time that lies between two frames must not be rounded to either.
    hop, step = HOP * SAMPLE_RATE, frame_step * _played_rate(speed)
    first = np.clip(begin.astype(np.int64) * hop // step, 0, np.where(empty, count, max(count - 1, 0)))
    last = np.clip(-(-end.astype(np.int64) * hop // step), first + 1, max(count, 1))
    return first, np.where(empty, first, last)


def stretch_at(stretch: tuple[int, int], frame_step: int, count: int, speed: float = 1.0) -> tuple[int, int]:
    """One span of frames of 10 ms as a span of frames at another rate, or speed; see `spans_at`.

    Args:
        stretch: first frame of 10 ms, and the frame after the last.
        frame_step: samples from one frame of the other rate to the next.
        count: frames of the other rate that the utterance has.
        speed: of the copy that has the other frames.

    >>> stretch_at((5, 8), 2 * HOP, count=10)
    (2, 4)
    """
    begin, end = spans_at(np.array(stretch[:1]), np.array(stretch[1:]), frame_step, count, speed)
    return int(begin[0]), int(end[0])


class Recording(NamedTuple):
    """Samples, [samples] mono at 16 kHz, full scale is 1; and what was odd about their file and taken all the same."""

    samples: Samples
    oddities: tuple[str, ...]


def read(source: Source, start: float | None = None, end: float | None = None, limit: float | None = None) -> Samples:
    """The samples of `record`.

    Args:
        source: path or binary file of the audio.
        start: of the segment to read, in seconds; None for the file's start.
        end: of the segment, in seconds; None for the file's end.
        limit: seconds; what lasts longer is refused before it is decoded, for a small file may hold hours. None for no
            limit.

    Raises:
        AudioError: see `record`.
    """
    return record(source, start, end, limit).samples


def record(
    source: Source, start: float | None = None, end: float | None = None, limit: float | None = None
) -> Recording:
    """Read an audio file, or a segment of it, as mono samples at 16 kHz.

    Channels are averaged; other rates are resampled with a polyphase filter. Formats are WAV, FLAC, Ogg, MP3 and all
    others of libsndfile; see `fgcme.sound`.

    Args:
        source: path or binary file of the audio.
        start: of the segment to read, in seconds; None for the file's start.
        end: of the segment, in seconds; None for the file's end.
        limit: seconds; what lasts longer is refused before it is decoded, for a small file may hold hours. None for no
            limit.

    Raises:
        AudioError: the audio is missing, damaged, truncated, empty, silent, too long, or shorter than one window of 25
            ms.
    """
    decoded = decode(source, start, end, limit)
    name = str(source) if isinstance(source, str | Path) else "the audio"
    if decoded.rate // gcd(decoded.rate, SAMPLE_RATE) > _LARGEST_FACTOR:
        raise AudioError("unreadable", f"{name} has {decoded.rate} samples a second, which is no rate of a recording")
    samples = _resample(decoded.samples, decoded.rate)
    check(samples, name)
    return Recording(samples, decoded.oddities + ((RESAMPLED,) if decoded.rate != SAMPLE_RATE else ()))


def check(samples: Samples, name: str = "the audio") -> None:
    """Refuse samples that no features can be made from.

    Args:
        samples: [samples] at 16 kHz.
        name: what a message calls them.

    Raises:
        AudioError: they are empty, hold values that are not numbers, fill no window, or are digital silence.
    """
    if not samples.size:
        raise AudioError("empty", f"{name} holds no samples")
    if not np.isfinite(samples).all():
        raise AudioError("unreadable", f"{name} holds values that are not numbers")
    if samples.size < WINDOW:
        milliseconds = 1000 * samples.size / SAMPLE_RATE
        raise AudioError("too_short", f"{name} lasts {milliseconds:.1f} ms, less than one window of 25 ms")
    if np.ptp(samples) <= 2 * _SILENCE:
        raise AudioError("silent", f"{name} is digital silence")


def at_speed(samples: Samples, speed: float) -> Samples:
    """A copy of a recording, played `speed` times as fast: tempo and pitch move together.

    It is resampled (Ko et al., "Audio augmentation for speech recognition", Interspeech 2015).

    Args:
        samples: [samples] mono at 16 kHz.
        speed: above 1 is faster, and shorter.

    Raises:
        AudioError: the copy is too short, or silent: what made a sound is beyond the range of its frequencies.
    """
    copy = _resample(samples, _played_rate(speed))
    check(copy, f"the copy at speed {speed:g}")
    return copy


def _played_rate(speed: float) -> int:
    """The rate at which samples at 16 kHz are played to be so many times as fast."""
    return round(speed * SAMPLE_RATE)


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal; a file shared by many utterances is hashed once.

    Raises:
        AudioError: the file is missing or cannot be read.
    """
    path = Path(path)
    check_source(path)
    try:
        status = path.stat()
        return _sha256(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    except OSError as error:
        raise AudioError("unreadable", f"{path} cannot be read ({error.strerror or error})") from None


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, size: int, modified: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _resample(samples: Samples, rate: int) -> Samples:
    if rate == SAMPLE_RATE or not samples.size:
        return samples
    from scipy.signal import resample_poly

    divisor = gcd(rate, SAMPLE_RATE)
    resampled = resample_poly(samples, SAMPLE_RATE // divisor, rate // divisor)
    return np.asarray(resampled, dtype=np.float32)
