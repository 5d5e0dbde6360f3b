"""One driver at a time: whoever writes to a folder of the storage holds its lock."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fgcme.errors import UserError

LOCK = "lock"
"""Name of the lock's file, which stays when the lock is given back."""


@contextmanager
def driver_lock(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder for this driver; the lock goes with the process, however that ends.

    Args:
        folder: made if need be.
        what: is done there, as in `sweep 1234`.

    Raises:
        UserError: another driver holds it, whose host and process are named; or the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Open for writing: NFS takes an exclusive lock on nothing else.
        held = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: cannot be written to ({error.strerror})") from None
    with held as lock:
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
