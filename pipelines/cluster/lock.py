"""One driver at a time: a driver that writes to a folder of the storage holds its lock."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fgcme.errors import UserError

LOCK = "lock"
"""Name of the lock's file, which stays when the lock is released."""


@contextmanager
def driver_lock(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder for this driver; the system releases the lock however the process ends.

    Args:
        folder: created if it does not exist.
        what: the work that is done there, for messages, such as `sweep 1234`.

    Raises:
        UserError: another driver holds it (names host and process), or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Open for writing: NFS locks nothing else exclusively.
        file = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror})") from None
    with file as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise UserError(
                f"{what} is being run by another driver ({lock.read().strip() or 'unknown'}): "
                "wait until it has ended, or end it"
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        lock.flush()
        yield
