"""One driver at a time: who writes to a folder of the storage holds its lock, and nobody changes what another reads."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TextIO

from fgcme.errors import UserError
from fgcme.files import acquire

LOCK = "lock"
"""Name of the lock's file, which stays when the lock is released."""

# Name of the file that readers of a folder lock in common, and who changes it alone.
_READERS = "readers"
# Seconds for which a driver waits for another that just begins.
_PATIENCE = 1.0


@contextmanager
def driver_lock(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder for this driver; the system releases the lock however the process ends.

    Args:
        folder: created if it does not exist.
        what: the work that is done there, for messages, such as `sweep 1234`.

    Raises:
        UserError: another driver holds it (names host and process), or the folder cannot be written to.
    """
    with _held_alone(folder / LOCK, f"{what} is being run by"):
        yield


@contextmanager
def changing(folder: Path, what: str) -> Iterator[None]:
    """Change what is in a folder while no driver is `reading` it; for the holder of its `driver_lock`.

    Args:
        folder: created if it does not exist.
        what: is in it, for messages.

    Raises:
        UserError: drivers are reading it (names host and process of each), or the folder cannot be written to.
    """
    with _held_alone(folder / _READERS, f"{what} is in use by"):
        yield


@contextmanager
def reading(folder: Path, what: str) -> Iterator[None]:
    """Read what is in a folder while no driver is `changing` it; any number of drivers may.

    A folder that cannot be written to is read without a lock if it has no file for it.

    Args:
        folder: that exists.
        what: is in it, for messages.

    Raises:
        UserError: a driver is changing it (names host and process).
    """
    try:
        file = _open_shared(folder / _READERS)
    except FileNotFoundError:
        yield
        return
    with file:
        if file.writable() and acquire(file, wait=False):
            # Nobody else is here: what the file says is of drivers that have ended.
            file.truncate(0)
        deadline = time.monotonic() + _PATIENCE
        while not acquire(file, shared=True, wait=False):
            # Another reader holds it alone for a moment, for the line above.
            if time.monotonic() > deadline:
                raise UserError(f"{what} is being changed by {_drivers(file)}")
            time.sleep(0.05)
        with _signed(file) if file.writable() else nullcontext():
            yield


@contextmanager
def _held_alone(path: Path, refusal: str) -> Iterator[None]:
    """Hold a lock's file alone; who holds it already is named behind the words of the refusal."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Open for writing: NFS locks nothing else exclusively.
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path.parent}: cannot be written to ({error.strerror})") from None
    with file:
        if not acquire(file, wait=False):
            raise UserError(f"{refusal} {_drivers(file)}")
        file.truncate(0)
        _sign(file)
        yield


def _open_shared(path: Path) -> TextIO:
    """Open a lock's file; where it cannot be written to, for reading, which is enough to hold it in common.

    Raises:
        FileNotFoundError: there is none, and it cannot be created.
    """
    try:
        return path.open("a+", encoding="utf-8")
    except OSError:
        return path.open(encoding="utf-8")


def _sign(file: TextIO) -> None:
    # On a full disk the lock holds, without a name.
    with suppress(OSError):
        os.write(file.fileno(), _own_line())


@contextmanager
def _signed(file: TextIO) -> Iterator[None]:
    """Name this process in a lock's file, besides others, for the length of a `with` block."""
    _sign(file)
    try:
        yield
    finally:
        # Overwritten and not deleted: other processes' lines stay where they are.
        with suppress(OSError), Path(file.name).open("r+b") as lines:
            if (start := lines.read().find(_own_line())) >= 0:
                lines.seek(start)
                lines.write(b" " * (len(_own_line()) - 1))


def _own_line() -> bytes:
    return f"process {os.getpid()} on {socket.gethostname()}\n".encode()


def _drivers(file: TextIO) -> str:
    """Who holds a lock, and what to do about it."""
    deadline = time.monotonic() + _PATIENCE
    # Whoever has just locked the file signs it a moment later.
    while not (names := _names(file)) and time.monotonic() < deadline:
        time.sleep(0.01)
    if len(names) > 1:
        # Those that were killed are still named.
        return f"other drivers (at least one of {', '.join(names)}): wait until they have ended, or end them"
    return f"another driver ({''.join(names) or 'unknown'}): wait until it has ended, or end it"


def _names(file: TextIO) -> list[str]:
    """The processes that a lock's file names."""
    file.seek(0)
    return list(dict.fromkeys(line.strip() for line in file if line.strip()))
