"""Speech from a file as everything here wants it: mono, 16 kHz, float32, and the grid of 10 ms frames laid over it."""

from __future__ import annotations

import functools
import hashlib
import re
from math import gcd
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from fgcme.errors import DataError

SAMPLE_RATE = 16_000
WINDOW = 400
"""Samples that one frame looks at: 25 ms."""
HOP = 160
"""Samples from one frame to the next: 10 ms. Frame i looks at samples [HOP * i, HOP * i + WINDOW)."""

Samples = npt.NDArray[np.float32]

# Two steps of 16-bit audio: what dither or a converter's rounding leaves of nothing.
_SILENCE = 2 / 32_768
# A segment's times are rounded by whoever wrote them: that much beyond the end of the file is the end of the file.
_SEGMENT_TOLERANCE = 0.05
_POINTER = b"version https://git-lfs"
# What libsndfile notes about a WAV or AIFF file whose header promises more bytes than there are.
_SHORT_CHUNK = re.compile(r"^\s*(?:data|SSND)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
# Programs that write to a pipe leave a length near this one in the header; it promises nothing.
_PIPE_LENGTH = 0x7FFF_0000


class AudioError(DataError):
    """Audio that no features can be made from.

    Its reason is `missing`, `unreadable`, `lfs_pointer`, `empty`, `too_short`, `silent` or `bad_segment`.
    """

    stage = "read"


def frame_count(sample_count: int) -> int:
    """How many whole windows fit into that many samples: the length of everything on the grid of frames.

    >>> frame_count(399), frame_count(400), frame_count(16_000)
    (0, 1, 98)
    """
    return max(0, 1 + (sample_count - WINDOW) // HOP)


def read(source: str | Path | BinaryIO, start: float | None = None, end: float | None = None) -> Samples:
    """Read an audio file, or a piece of it, as mono samples at 16 kHz.

    Channels are averaged; other rates are resampled with a polyphase filter. WAV, FLAC, Ogg, MP3 and whatever else
    libsndfile knows. An Ogg file that was cut short reads as a shorter file: its format does not say how long it is.

    Args:
        source: path or binary file of the audio.
        start, end: the piece to read, in seconds; None for the file's own start and end.

    Returns:
        [samples] float32, full scale is 1.

    Raises:
        AudioError: the audio is missing, damaged, cut short, empty, silent, or shorter than one window of 25 ms.
    """
    import soundfile

    name = _check_source(source)
    try:
        with soundfile.SoundFile(source) as file:
            first, count = _segment(file.frames, file.samplerate, start, end, name)
            _check_length(file, name)
            file.seek(first)
            channels = file.read(count, dtype="float32", always_2d=True)
            rate = file.samplerate
    except (soundfile.SoundFileError, TypeError) as error:
        # A TypeError is how soundfile says that a `.raw` file does not tell its own sample rate.
        raise AudioError("unreadable", f"{name} is damaged or is not audio ({_cause(error)})") from None
    except OSError as error:
        raise AudioError("unreadable", f"{name} cannot be read ({error.strerror or error})") from None
    if len(channels) < count:
        raise AudioError("unreadable", f"{name} is cut short: {len(channels)} of {count} samples could be read")
    samples = _resample(channels.mean(axis=1, dtype=np.float32), rate)
    check(samples, name)
    return samples


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


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal; a file that many utterances share is hashed once.

    Raises:
        AudioError: the file is missing or cannot be read.
    """
    path = Path(path)
    _check_source(path)
    try:
        status = path.stat()
        return _sha256(path, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise AudioError("unreadable", f"{path} cannot be read ({error.strerror or error})") from None


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_source(source: str | Path | BinaryIO) -> str:
    """Refuse what libsndfile would only call unknown, and say what messages call the source."""
    if isinstance(source, str | Path):
        path = Path(source)
        try:
            with path.open("rb") as file:
                beginning = file.read(len(_POINTER))
        except FileNotFoundError:
            raise AudioError("missing", f"{path} does not exist") from None
        except OSError as error:
            raise AudioError("unreadable", f"{path} cannot be read ({error.strerror or error})") from None
        name = str(path)
    else:
        beginning = source.read(len(_POINTER))
        source.seek(-len(beginning), 1)
        name = str(getattr(source, "name", "the audio"))
    if not beginning:
        raise AudioError("empty", f"{name} is empty (0 bytes)")
    if beginning == _POINTER:
        raise AudioError("lfs_pointer", f"{name} is a Git LFS pointer, not audio: fetch it with `git lfs pull`")
    return name


def _check_length(file: object, name: str) -> None:
    """Refuse a WAV or AIFF file that lacks its end: libsndfile would read what there is without a word."""
    for promised, found in _SHORT_CHUNK.findall(getattr(file, "extra_info", "")):
        if int(found) < int(promised) < _PIPE_LENGTH:
            raise AudioError("unreadable", f"{name} is cut short: {found} of {promised} bytes of audio are there")


def _segment(frames: int, rate: int, start: float | None, end: float | None, name: str) -> tuple[int, int]:
    """First sample and number of samples of a piece, at the file's own rate."""
    if frames > 2**48:
        raise AudioError("unreadable", f"{name} does not say how long it is: encode it again")
    if start is None and end is None:
        return 0, frames
    duration = frames / rate
    begin = 0.0 if start is None else start
    finish = duration if end is None else end
    if not 0 <= begin < finish <= duration + _SEGMENT_TOLERANCE or begin >= duration:
        raise AudioError(
            "bad_segment", f"{name} lasts {duration:.2f} s and has no piece from {begin:g} s to {finish:g} s"
        )
    first = min(round(begin * rate), frames)
    return first, min(round(finish * rate), frames) - first


def _resample(samples: Samples, rate: int) -> Samples:
    if rate == SAMPLE_RATE or not samples.size:
        return samples
    from scipy.signal import resample_poly

    divisor = gcd(rate, SAMPLE_RATE)
    resampled = resample_poly(samples, SAMPLE_RATE // divisor, rate // divisor)
    return np.asarray(resampled, dtype=np.float32)


def _cause(error: Exception) -> str:
    text = str(getattr(error, "error_string", "") or error)
    return text.removeprefix("Error : ").strip().rstrip(".").lower()
