"""Sound files whose header does not say how long they are, or not truly, as what can be read to its real end."""

from __future__ import annotations

import io
import re
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from fgcme.sound import mp3
from fgcme.sound.source import AudioError, Source, from_beginning, read_all

WITHOUT_END = "without the end of its stream, which may be cut short"
MISSTATED = "longer or shorter than its header states"

# How a FLAC file begins: its mark, and the head of the block that has to come first.
_FLAC = re.compile(rb"fLaC[\x00\x80]\x00\x00\x22")
# libsndfile's note on a WAV or AIFF file whose header promises more bytes than there are.
_SHORT_CHUNK = re.compile(r"^\s*(?:data|SSND)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
# Programs that write to a pipe put a length near this one into the header, or none.
_PIPE_LENGTH = 0x7FFF_0000
# Bytes behind the sound of a WAV file that are no chunk, and no sound that its header forgets either.
_TRAILER = 4096
# Rates in hertz: below, there is no speech; above, nobody records, but a damaged header may say so.
_LOWEST_RATE, _HIGHEST_RATE = 1_000, 384_000


def pieces_of(source: Source, name: str) -> tuple[list[Source], list[str]]:
    """What to read one after the other: the source itself, or what is in it where its header is wrong.

    Args:
        source: path or binary file of the sound.
        name: what messages call it.

    Returns:
        The pieces, and what is odd about the file.

    Raises:
        AudioError: the file is cut short or damaged.
        soundfile.SoundFileError: it is no sound.
    """
    import soundfile

    with soundfile.SoundFile(from_beginning(source)) as file:
        if not _LOWEST_RATE <= file.samplerate <= _HIGHEST_RATE:
            raise AudioError("unreadable", f"{name} states {file.samplerate} samples a second: its header is damaged")
        kind, stated = file.format, file.extra_info
    if kind in ("WAV", "WAVEX", "AIFF"):
        _refuse_short(stated, name)
    if kind in ("WAV", "WAVEX") and (mended := _mended_wav(source, name)) is not None:
        return [mended], [MISSTATED]
    if kind in ("MP3", "MPEG"):
        return _mp3(source, name)
    if kind not in ("OGG", "FLAC"):
        return [source], []
    content = read_all(source)
    begins, is_whole = (
        _chained(content) if kind == "OGG" else ([each.start() for each in _FLAC.finditer(content)], True)
    )
    oddities = [] if is_whole else [WITHOUT_END]
    if len(begins) < 2:
        return [source], oddities
    return [io.BytesIO(content[begin:end]) for begin, end in pairwise([*begins, len(content)])], [MISSTATED, *oddities]


def _mp3(source: Source, name: str) -> tuple[list[Source], list[str]]:
    content = read_all(source)
    counted = mp3.count_frames(content)
    if not counted.frames:
        return [source], []
    found = len(counted.frames)
    if counted.stated:
        # Some encoders count the frame of the header, too.
        if found < counted.stated - 1:
            raise AudioError(
                "unreadable", f"{name} is cut short: {found} of {counted.stated} frames are there; copy it again"
            )
        if found <= counted.stated + 1:
            return [source], []
    if len({frame.kind for frame in counted.frames}) > 1:
        raise AudioError("unreadable", f"{name} is several recordings of different kinds in one file: divide it")
    return [io.BytesIO(mp3.with_true_length(content, counted))], [MISSTATED]


def _chained(content: bytes) -> tuple[list[int], bool]:
    """Where the streams of an Ogg file begin that follow each other, and whether the last one ends as it should."""
    begins: list[int] = []
    position, inside, ends = 0, False, False
    while content[position : position + 4] == b"OggS" and len(content) >= position + 27:
        first_page, ends = bool(content[position + 5] & 2), bool(content[position + 5] & 4)
        if first_page and (inside or not begins):
            begins.append(position)
        inside = not first_page
        segments = content[position + 26]
        position += 27 + segments + sum(content[position + 27 : position + 27 + segments])
    return begins, ends and position <= len(content)


def _refuse_short(stated: str, name: str) -> None:
    """Refuse a truncated WAV or AIFF file, which libsndfile would read in silence."""
    for promised, found in _SHORT_CHUNK.findall(stated):
        if int(found) < int(promised) < _PIPE_LENGTH:
            raise AudioError(
                "unreadable", f"{name} is cut short: {found} of {promised} bytes of audio are there; copy it again"
            )


def _mended_wav(source: Source, name: str) -> BinaryIO | None:
    """The file with the length of its sound, where its header has none; None for a header that fits the file.

    Raises:
        AudioError: more sound follows than the header states.
    """
    with Path(source).open("rb") if isinstance(source, str | Path) else io.BytesIO(read_all(source)) as file:
        if file.read(4) != b"RIFF":
            return None
        size = file.seek(0, io.SEEK_END)
        position = 12
        while position + 8 <= size:
            file.seek(position)
            mark, length = file.read(4), int.from_bytes(file.read(4), "little")
            end = position + 8 + length
            if mark != b"data":
                position = end + length % 2
                continue
            file.seek(min(end + length % 2, size))
            following = file.read(8)
            rest = size - end
            is_chunk = following[:4].isalnum() or following[:4].strip().isalnum()
            if rest <= 8 or (is_chunk and following[:4] != b"RIFF"):
                return None
            if length and rest <= _TRAILER:
                return None
            if length:
                raise AudioError(
                    "unreadable",
                    f"{name} holds {rest} bytes more than its header states: it is several files in one, or damaged; "
                    "write it anew",
                )
            file.seek(0)
            content = bytearray(file.read())
            content[position + 4 : position + 8] = (size - position - 8).to_bytes(4, "little")
            return io.BytesIO(bytes(content))
    return None
