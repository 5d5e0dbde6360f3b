"""The frames of an MP3 file, counted: what its header states, where it has one, need not be true."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

# Kilobits a second, by MPEG version 1 or not, and by layer.
_KILOBITS = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
# What is the same in the headers of all frames of a stream: version, layer, rate.
_SAME_STREAM = 0xFFFE0C00


class Frame(NamedTuple):
    """A frame: where it begins, its bytes, and its stream's kind, which is one number for frames that go together."""

    start: int
    size: int
    kind: int


class Counted(NamedTuple):
    """What an MP3 file holds.

    Attributes:
        stated: frames by its header; None without one.
        frames: those that are there, without headers.
    """

    stated: int | None
    frames: list[Frame]


def count_frames(content: bytes) -> Counted:
    """Find all frames of an MP3 file, whatever its header says; one that is cut off at the end does not count.

    Source: ISO/IEC 11172-3 for frames; the header of a file is that of the Xing encoder, a frame without sound.
    """
    frames: list[Frame] = []
    stated: int | None = None
    for frame in _walk(content):
        said = _stated(content, frame)
        if said is None:
            frames.append(frame)
        elif not frames and stated is None:
            stated = said
    return Counted(stated, frames)


def with_true_length(content: bytes, counted: Counted) -> bytes:
    """The same sound with a header that states as many frames as there are; what is no frame is left out."""
    first = counted.frames[0]
    header = int.from_bytes(content[first.start : first.start + 4])
    tag = bytes(_side_information(header)) + b"Xing" + (1).to_bytes(4) + len(counted.frames).to_bytes(4)
    # A frame of the same kind, without its checksum, at the lowest rate of bits that leaves room for the header.
    candidates = (header & ~0xF200 | bits << 12 | 0x10000 for bits in range(1, 15))
    header, size = next((each, size) for each in candidates if (size := _size(each) or 0) >= 4 + len(tag))
    information = (header.to_bytes(4) + tag).ljust(size, b"\0")
    return information + b"".join(content[frame.start : frame.start + frame.size] for frame in counted.frames)


def _walk(content: bytes) -> Iterator[Frame]:
    position, stream = _behind_tag(content), 0
    while 0 <= (position := content.find(b"\xff", position)) <= len(content) - 4:
        header = int.from_bytes(content[position : position + 4])
        size = _size(header)
        if size is None:
            position += 1
            continue
        end = position + size
        # Where a stream begins, the next frame must be one too: other bytes may look like a header.
        if _kind(header) != stream and not _begins_frame(content, end, header):
            position += 1
            continue
        stream = _kind(header)
        if end <= len(content):
            yield Frame(position, size, stream)
        position = end


def _begins_frame(content: bytes, position: int, before: int) -> bool:
    if position >= len(content):
        return position == len(content)
    following = int.from_bytes(content[position : position + 4].ljust(4, b"\0"))
    return _kind(following) == _kind(before) and _size(following) is not None


def _kind(header: int) -> int:
    return header & _SAME_STREAM | (header >> 6 & 3 == 3)


def _behind_tag(content: bytes) -> int:
    """Where the sound begins, behind a tag with title and artist."""
    if content[:3] != b"ID3" or len(content) < 10:
        return 0
    size = 0
    for byte in content[6:10]:
        size = size << 7 | byte & 0x7F
    # Of some files the tag's size is wrong; their frames are found all the same.
    return 10 + size if 10 + size < len(content) else 10


def _size(header: int) -> int | None:
    """Bytes of a frame with that header; None where it is no header of a frame."""
    version, layer = header >> 19 & 3, 4 - (header >> 17 & 3)
    bits, rate = header >> 12 & 15, header >> 10 & 3
    if header >> 21 != 0x7FF or version == 1 or layer == 4 or bits in (0, 15) or rate == 3:
        return None
    first = version == 3
    kilobits, hertz, padding = _KILOBITS[first, layer][bits - 1], _RATES[version][rate], header >> 9 & 1
    if layer == 1:
        return (12_000 * kilobits // hertz + padding) * 4
    return (72 if layer == 3 and not first else 144) * 1000 * kilobits // hertz + padding


def _side_information(header: int) -> int:
    first, mono = header >> 19 & 3 == 3, header >> 6 & 3 == 3
    return (17 if mono else 32) if first else (9 if mono else 17)


def _stated(content: bytes, frame: Frame) -> int | None:
    """How many frames a frame says that there are, if it is a header of the file and no sound; 0 if it says nothing."""
    header = int.from_bytes(content[frame.start : frame.start + 4])
    place = frame.start + 4 + _side_information(header)
    if content[place : place + 4] in (b"Xing", b"Info"):
        return int.from_bytes(content[place + 8 : place + 12]) if content[place + 7] & 1 else 0
    place = frame.start + 36
    return int.from_bytes(content[place + 14 : place + 18]) if content[place : place + 4] == b"VBRI" else None
