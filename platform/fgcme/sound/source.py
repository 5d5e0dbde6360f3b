"""What a sound may be read from, and why something is none."""

from __future__ import annotations

import io
import re
import stat
from pathlib import Path
from typing import BinaryIO

from fgcme.errors import DataError

Source = str | Path | BinaryIO

# How a Git LFS pointer begins, and a web page.
_POINTER = b"version https://git-lfs"
_PAGE = re.compile(rb"\s*<(?:!doctype|html|head|\?xml)", re.IGNORECASE)
_BEGINNING = 256


class AudioError(DataError):
    """Audio that no features can be made from.

    Its reason is `missing`, `unreadable`, `lfs_pointer`, `empty`, `too_short`, `too_long`, `silent` or `bad_segment`.
    """

    stage = "read"


def check_source(source: Source) -> str:
    """Refuse a source that cannot be audio, with the reason; returns its name for messages.

    Raises:
        AudioError: it is missing, empty, no file, a Git LFS pointer or a web page.
    """
    if isinstance(source, str | Path):
        name = str(source).encode("utf-8", "backslashreplace").decode()
        try:
            # To open a pipe would wait for whoever writes to it.
            if not stat.S_ISREG(Path(source).stat().st_mode):
                raise AudioError("unreadable", f"{name} is no file")
            with Path(source).open("rb") as file:
                beginning = file.read(_BEGINNING)
        except FileNotFoundError:
            raise AudioError("missing", f"{name} does not exist") from None
        except OSError as error:
            raise AudioError("unreadable", f"{name} cannot be read ({error.strerror or error})") from None
        except ValueError as error:
            raise AudioError("missing", f"{name!r} is no path ({error})") from None
    else:
        beginning = source.read(_BEGINNING)
        source.seek(-len(beginning), 1)
        name = str(getattr(source, "name", "the audio"))
    if not beginning:
        raise AudioError("empty", f"{name} is empty (0 bytes)")
    if beginning.startswith(_POINTER):
        raise AudioError("lfs_pointer", f"{name} is a Git LFS pointer, not audio: fetch it with `git lfs pull`")
    if _PAGE.match(beginning):
        raise AudioError("unreadable", f"{name} is a web page, not audio: a download failed; fetch it again")
    return name


def from_beginning(source: Source) -> Source:
    """The source, to be decoded from its beginning."""
    return source if isinstance(source, str | Path) else _Bytes(read_all(source))


class _Bytes(io.BytesIO):
    """Bytes that answer a decoder of damaged files, which may look for a place before their beginning."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a place; -1 where there is none."""
        try:
            return super().seek(offset, whence)
        except ValueError:
            return -1


def read_all(source: Source) -> bytes:
    """All bytes of a source."""
    if isinstance(source, str | Path):
        return Path(source).read_bytes()
    place = source.tell()
    source.seek(0)
    content = source.read()
    source.seek(place)
    return content
