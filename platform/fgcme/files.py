"""Files that are whole or not there: a killed program leaves no half of one, and a reader meets none."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A path to write to in a `with` block; at its end the file replaces `path` in one step.

    After an exception `path` is unchanged. Writers, even on several machines, do not disturb each other: the last one's
    file stays.

    Raises:
        OSError: the file cannot be written, for example because the disk is full.
    """
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        yield partial
        # After a power cut the new name could otherwise have an empty file.
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file in one step."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def digest(value: Any) -> str:
    """A short, stable hash of anything that JSON can hold; the order of keys does not matter.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def digest_folder(folder: Path) -> str:
    """A short hash of the names and bytes of a folder's files; hidden files, where it lies and its times do not count.

    Raises:
        OSError: a file cannot be read.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in files]
    contents = []
    for path, name in zip(files, names, strict=True):
        if not any(part.startswith(".") for part in name.split("/")):
            status = path.stat()
            contents.append([name, _sha256(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)])
    return digest(contents)


@functools.lru_cache(maxsize=256)
def _sha256(path: Path, size: int, modified: int, changed: int) -> str:
    # A checkpoint may have gigabytes, and a verb asks for its hash several times.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
