"""Files that are whole or not there: a reader, or a program that is killed, never leaves or meets half of one."""

from __future__ import annotations

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
    """A path to write to in a `with` block; at its end the file takes the place of `path`, in one step.

    After an exception `path` is as it was. Several writers, on several machines too, do not disturb each other: the
    last one's file stays.

    Raises:
        OSError: the disk does not take it.
    """
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        yield partial
        # Otherwise a machine that loses its power could leave the new name with nothing in it.
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
    """A short, stable hash of anything JSON can hold.

    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]
