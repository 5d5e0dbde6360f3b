"""Sound files as samples of one channel, at their own rate: what is there decides, not what a header says of it.

Read to their real end are MP3 files whose header states or estimates another length, files written to a pipe, and files
that are several, one behind the other. What is odd but taken is told beside the samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from fgcme.sound.containers import pieces_of
from fgcme.sound.source import AudioError, Source, check_source, from_beginning

if TYPE_CHECKING:
    from soundfile import SoundFile

Samples = npt.NDArray[np.float32]

ONE_CHANNEL = "one channel taken, because the average cancels"
MIXED = "mixed down to one channel"
SCALED = "scaled from the range of integers"
CLIPPED = "clipped when it was recorded"

# Values of all channels that are read at once, since a file may have hundreds of channels.
_BLOCK = 1 << 18
# Up to this rate, as many seconds are decoded as are allowed; above it fewer, so that memory has one bound.
_FULL_LENGTH_RATE = 192_000
# Frames that no file has: libsndfile's way to say that it does not know.
_UNKNOWN = 2**48
# Channels cancel if their mean has less than this share of the power that it has of unrelated channels.
_CANCELLED = 0.1
# Seconds that a segment may exceed the file: its times were rounded.
_SEGMENT_TOLERANCE = 0.05
# Largest sample of a file of floating point: up to here it is loud, from there on an integer's.
_LOUD, _INTEGER = 8.0, 256.0
_FLOATS = ("FLOAT", "DOUBLE")
_INTEGER_SCALES = (2**15, 2**23, 2**31)
# Share of samples at full scale from which a recording counts as clipped.
_FULL_SCALE, _CLIPPED_SHARE = 0.9999, 0.001


class Decoded(NamedTuple):
    """The sound of a file or of a segment of it.

    Attributes:
        samples: one channel, full scale is 1.
        rate: samples a second.
        oddities: what is odd and was taken all the same.
    """

    samples: Samples
    rate: int
    oddities: tuple[str, ...]


def decode(source: Source, start: float | None, end: float | None, limit: float | None = None) -> Decoded:
    """Decode a sound file, or a segment of it, and make it one channel.

    Channels are averaged; of those that cancel, such as a microphone with reversed poles, the loudest is taken. Samples
    of floating point at the scale of integers are divided by it.

    Args:
        source: path or binary file.
        start: of the segment, in seconds; None for the file's start.
        end: of the segment; None for the file's end.
        limit: seconds that may be decoded; None for all.

    Raises:
        AudioError: the file is missing, damaged, cut short, no sound, too long, or has no such segment.
    """
    import soundfile

    name = check_source(source)
    try:
        pieces, oddities = pieces_of(source, name)
        mean, powers, rate, kind = _read(pieces, start, end, name, limit)
        if _cancels(mean, powers):
            # The first of those that are equally loud but for rounding.
            loudest = int(np.argmax(powers >= 0.99 * powers.max()))
            mean, _, rate, kind = _read(pieces, start, end, name, limit, loudest)
            oddities.append(ONE_CHANNEL)
        elif len(powers) > 1:
            oddities.append(MIXED)
    except (soundfile.SoundFileError, TypeError) as error:
        raise _not_audio(name, error) from None
    except OSError as error:
        raise AudioError("unreadable", f"{name} cannot be read ({error.strerror or error})") from None
    if kind in _FLOATS and (scale := _scale(mean if start is end is None else _whole(pieces, name), name)) != 1:
        mean = mean / np.float32(scale)
        oddities.append(SCALED)
    if mean.size and (np.abs(mean) >= _FULL_SCALE).mean() >= _CLIPPED_SHARE:
        oddities.append(CLIPPED)
    return Decoded(mean, rate, tuple(oddities))


def duration_of(source: Source) -> float | None:
    """How many seconds a sound file lasts, without decoding it; None where nobody knows before it is decoded.

    Raises:
        AudioError: the file is missing, damaged, cut short or no sound.
    """
    import soundfile

    name = check_source(source)
    try:
        with _opened(pieces_of(source, name)[0]) as files:
            frames = sum(file.frames for file in files)
            return None if frames >= _UNKNOWN else float(frames / files[0].samplerate)
    except (soundfile.SoundFileError, TypeError) as error:
        raise _not_audio(name, error) from None
    except OSError as error:
        raise AudioError("unreadable", f"{name} cannot be read ({error.strerror or error})") from None


def _read(
    pieces: Sequence[Source],
    start: float | None,
    end: float | None,
    name: str,
    limit: float | None = None,
    channel: int | None = None,
) -> tuple[Samples, npt.NDArray[np.float64], int, str]:
    """The mean of the channels, or one channel, of the pieces together.

    Args:
        pieces: see `pieces_of`.
        start: of the segment, in seconds.
        end: of the segment.
        name: for messages.
        limit: seconds that may be decoded; None for all.
        channel: to take; None for the mean.

    Returns:
        [samples], the power of each channel, the rate, and how samples are stored.
    """
    blocks: list[Samples] = []
    read = skipped = 0
    with _opened(pieces) as files:
        rate, kind = files[0].samplerate, files[0].subtype
        if len({(file.samplerate, file.channels) for file in files}) > 1:
            raise AudioError("unreadable", f"{name} is several recordings of different kinds in one file: divide it")
        powers = np.zeros(files[0].channels)
        known = sum(file.frames for file in files)
        first, count = _segment(min(known, _UNKNOWN), rate, start, end, name)
        allowed = _UNKNOWN if limit is None else int(min(limit * rate, limit * _FULL_LENGTH_RATE))
        if known < _UNKNOWN:
            _check_length(count, allowed, rate, name)
        # Of a length that nobody knows, so much that it is known to be too long.
        count, size = min(count, allowed + 1), max(1, _BLOCK // len(powers))
        for file in files:
            if first > skipped and file.seekable():
                skipped += file.seek(min(first - skipped, file.frames))
            while (wanted := first + count - skipped - read) > 0:
                block = file.read(min(wanted, size), dtype="float32", always_2d=True)
                if not len(block):
                    break
                passed = min(first - skipped, len(block))
                skipped, block = skipped + passed, block[passed:]
                read += len(block)
                powers += np.square(block, dtype=np.float64).sum(axis=0)
                blocks.append(block.mean(axis=1, dtype=np.float32) if channel is None else block[:, channel].copy())
    if known >= _UNKNOWN:
        _check_length(read, allowed, rate, name)
        _segment(skipped + read, rate, start, end, name)
    elif read < count:
        raise AudioError("unreadable", f"{name} is cut short: {read} of {count} samples could be read; copy it again")
    return np.concatenate(blocks) if blocks else np.empty(0, np.float32), powers, rate, kind


@contextmanager
def _opened(pieces: Sequence[Source]) -> Iterator[list[SoundFile]]:
    import soundfile

    class Stream(soundfile.SoundFile):  # type: ignore[misc]  # soundfile has no annotations
        """A file that is read from its beginning to its end."""

        def seekable(self) -> bool:
            """Whether it can be read from another place."""
            # After each block soundfile seeks the place where it is, which fails at an end that no header states.
            return bool(super().seekable() and self.frames < _UNKNOWN)

    with ExitStack() as stack:
        yield [stack.enter_context(Stream(from_beginning(piece))) for piece in pieces]


def _segment(frames: int, rate: int, start: float | None, end: float | None, name: str) -> tuple[int, int]:
    """First sample and number of samples of a segment, at the file's own rate.

    Args:
        frames: of the file.
        rate: samples a second.
        start: of the segment, in seconds; None for the file's start.
        end: of the segment; None for the file's end.
        name: for messages.

    Raises:
        AudioError: it is none of the file's.
    """
    if start is None and end is None:
        return 0, frames
    duration = frames / rate
    begin = 0.0 if start is None else start
    finish = duration if end is None else end
    if not 0 <= begin < finish <= duration + _SEGMENT_TOLERANCE or begin >= duration:
        raise AudioError(
            "bad_segment", f"{name} lasts {duration:.2f} s and has no segment from {begin:g} s to {finish:g} s"
        )
    first = min(round(begin * rate), frames)
    return first, min(round(finish * rate), frames) - first


def _check_length(count: int, allowed: int, rate: int, name: str) -> None:
    """Refuse more frames than are allowed."""
    if count > allowed:
        raise AudioError("too_long", f"{name} lasts {count / rate:.1f} s, and {allowed / rate:g} s are allowed")


def _cancels(mean: Samples, powers: npt.NDArray[np.float64]) -> bool:
    """Whether the channels' mean has lost what they hold; `powers` are the sums of squares of each."""
    expected = powers.sum() / len(powers) ** 2
    return len(powers) > 1 and bool(np.square(mean, dtype=np.float64).sum() < _CANCELLED * expected)


def _whole(pieces: Sequence[Source], name: str) -> Samples:
    """All of a file of which a segment is wanted: its scale is one, however quiet the segment is."""
    return _read(pieces, None, None, name)[0]


def _scale(samples: Samples, name: str) -> int:
    """What samples of floating point have to be divided by: 1, or the full scale of the integers that they were.

    Raises:
        AudioError: nobody can tell.
    """
    largest = float(np.abs(samples[np.isfinite(samples)]).max(initial=0))
    if largest <= _LOUD:
        return 1
    scale = next((each for each in _INTEGER_SCALES if largest <= each), None)
    if largest < _INTEGER or scale is None:
        raise AudioError(
            "unreadable",
            f"{name} holds floating point up to {largest:.4g}, where full scale is 1: divide it by its own full scale",
        )
    return scale


def _not_audio(name: str, error: Exception) -> AudioError:
    # soundfile raises a TypeError for a `.raw` file, which has no sample rate.
    return AudioError(
        "unreadable", f"{name} is damaged, or not audio that is known here ({_cause(error)}); write it as WAV or FLAC"
    )


def _cause(error: Exception) -> str:
    text = str(getattr(error, "error_string", "") or error)
    return text.removeprefix("Error : ").strip().rstrip(".").lower()
