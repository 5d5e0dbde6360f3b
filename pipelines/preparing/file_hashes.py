"""Hashes of files' bytes, remembered from one preparation to the next while a file's size and times stay the same."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from fgcme.audio import AudioError, sha256
from fgcme.files import atomic_write

# 16 bytes a file: 64 bits of the hash of its path, size and times, and 64 bits of the hash of its bytes.
_ENTRIES = np.dtype([("file", "<u8"), ("content", "<u8")])
# Files that are looked at, or read, at once: a shared folder answers each slowly, but many together.
_READERS = 16
_FILES_AT_ONCE = 128
# Hashes in a Python dictionary, which takes ten times the memory of an array.
_LOOSE = 50_000
# A file that changed this recently may change again without a change of its times.
_UNSETTLED_NS = 2_000_000_000


class FileHashes:
    """Hashes of files, for the length of a `with` block; at its end they are kept for the next one.

    Args:
        cache: the file that keeps them; one that is damaged or missing costs time and nothing else.
    """

    def __init__(self, cache: Path) -> None:
        self._cache = cache
        self._known = _load(cache)
        self._new: dict[int, int] = {}
        self._unsettled: set[int] = set()
        self._has_news = False
        self._pool = ThreadPoolExecutor(_READERS)

    def __enter__(self) -> FileHashes:
        """Nothing is opened before a file is asked for."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Keep what was read, even where something else failed."""
        self._pool.shutdown(cancel_futures=True)
        if self._has_news:
            self._settle()
            with atomic_write(self._cache) as partial, partial.open("wb") as file:
                np.save(file, self._known[~np.isin(self._known["file"], [*self._unsettled])])

    def hash(self, paths: Iterable[str]) -> dict[str, str | None]:
        """Hash of each file's bytes; None for one that is missing, empty, not fetched or cannot be read."""
        unique = list(dict.fromkeys(paths))
        found: dict[str, str | None] = dict.fromkeys(unique)
        keys: dict[str, int] = {}
        for some, looked_at in zip(_batches(unique), self._pool.map(_look_at, _batches(unique)), strict=True):
            for path, (key, unsettled) in zip(some, looked_at, strict=True):
                if key:
                    keys[path] = key
                    if unsettled:
                        self._unsettled.add(key)
        contents = self._lookup([*keys.values()])
        to_read = []
        for path, content in zip(keys, contents, strict=True):
            if content is None:
                to_read.append(path)
            else:
                found[path] = f"{content:016x}"
        for path, read in zip(to_read, self._pool.map(_read, to_read), strict=True):
            if read is not None:
                found[path] = read
                self._new[keys[path]] = int(read, 16)
                self._has_news |= keys[path] not in self._unsettled
        if len(self._new) > _LOOSE:
            self._settle()
        return found

    def _lookup(self, keys: Sequence[int]) -> list[int | None]:
        places = np.searchsorted(self._known["file"], np.array(keys, np.uint64))
        return [
            int(self._known["content"][place])
            if place < len(self._known) and self._known["file"][place] == key
            else self._new.get(key)
            for key, place in zip(keys, places.tolist(), strict=True)
        ]

    def _settle(self) -> None:
        """Move new hashes into the array."""
        new = np.array([*self._new.items()], _ENTRIES)
        self._known = np.sort(np.concatenate([self._known, new]), order="file")
        self._new.clear()


def _load(cache: Path) -> npt.NDArray[np.void]:
    try:
        entries: npt.NDArray[np.void] = np.load(cache, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return np.empty(0, _ENTRIES)
    return entries if entries.dtype == _ENTRIES and entries.ndim == 1 else np.empty(0, _ENTRIES)


def _batches(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    # A task for each file would cost more than to look at it.
    return (paths[first : first + _FILES_AT_ONCE] for first in range(0, len(paths), _FILES_AT_ONCE))


def _look_at(paths: Sequence[str]) -> list[tuple[int, bool]]:
    """What tells a version of each file, in a number, and whether it may still be written to; 0 where it is missing."""
    now = time.time_ns()
    found = []
    for path in paths:
        try:
            status = os.stat(path)  # noqa: PTH116  to make a Path takes longer than to look at it
        except (OSError, ValueError):
            found.append((0, False))
            continue
        text = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {path}"
        key = hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
        found.append((int.from_bytes(key, "little"), now - max(status.st_mtime_ns, status.st_ctime_ns) < _UNSETTLED_NS))
    return found


def _read(path: str) -> str | None:
    try:
        return sha256(path)[:16]
    except AudioError:
        return None
