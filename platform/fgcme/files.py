"""Files on a disk that several machines share: whole or not there, and written by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import functools
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from fgcme.errors import UserError

# What a disk answers that takes no locks: NFS version 3 without its lock service, some parallel and cloud disks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


_ROOM = "make room on its disk, then run the same again"
_RIGHT = "this user may not do that: change its owner or its mode, or use another folder"
_WAYS_OUT = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EACCES: _RIGHT,
    errno.EPERM: _RIGHT,
    errno.EROFS: "its disk may only be read: use another folder",
}


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A path to write to in a `with` block; at its end the file replaces `path` in one step.

    After an exception `path` is unchanged. Writers, even on several machines, do not disturb each other: the last one's
    file stays.

    Raises:
        OSError: the file cannot be written, for example because the disk is full; it names the file.
    """
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        yield partial
        # After a power cut the new name could otherwise have an empty file.
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        if error.errno not in _WAYS_OUT or error.filename not in (None, str(partial)):
            raise
        # Libraries such as Arrow do not say which file, and nobody knows the partial one.
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def way_out(error: OSError) -> str | None:
    """What a person can do about a file that cannot be written or read, in a sentence with its name.

    None for an error of another kind, or of a file that is not named.

    >>> way_out(OSError(errno.ENOSPC, "No space left on device", "storage/a.parquet"))
    'storage/a.parquet: No space left on device; make room on its disk, then run the same again'
    """
    # Of two names, as of a copy, the second is written.
    name = error.filename2 or error.filename
    if error.errno not in _WAYS_OUT or name is None:
        return None
    return f"{name}: {os.strerror(error.errno)}; {_WAYS_OUT[error.errno]}"


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file in one step."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def look_again(folder: Path) -> None:
    """Let this machine see what others have changed in a folder: NFS remembers for a minute what was there, or was not.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    # Opening a folder asks the server, unlike looking for a name in it.
    os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))


def exists(path: Path) -> bool:
    """Whether there is such a file or folder, even if another machine has only just made it."""
    if path.exists():
        return True
    if path == path.parent or not exists(path.parent):
        return False
    with suppress(OSError):
        look_again(path.parent)
    return path.exists()


def read_bytes(path: Path) -> bytes:
    """Read a file that other machines may make, replace or delete meanwhile.

    Raises:
        FileNotFoundError: there is no such file.
    """
    while True:
        try:
            return path.read_bytes()
        except FileNotFoundError:
            if not exists(path):
                raise
        except OSError as error:
            # NFS: what was opened is replaced or deleted; the name leads to what is there now.
            if error.errno != errno.ESTALE:
                raise


def read_text(path: Path) -> str:
    """`read_bytes` of a UTF-8 file."""
    return read_bytes(path).decode()


def acquire(file: IO[Any], shared: bool = False, wait: bool = True) -> bool:
    """Lock an open file, on all machines; it is released when the file is closed or the process ends, however it ends.

    Args:
        file: open for writing, because NFS locks no other file; to share it, open for reading.
        shared: hold it in common with others who share it.
        wait: until nobody else holds it; if false, return False at once while somebody does.

    Raises:
        UserError: the disk takes no locks.
    """
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise UserError(
            f"{file.name}: this disk takes no locks ({error.strerror}); use one that takes them from all machines, "
            "such as NFS version 4"
        ) from None
    return True


@contextmanager
def locked(path: Path, create: bool = True) -> Iterator[IO[bytes]]:
    """A file, open for reading and writing, which no other process on any machine has `locked` meanwhile.

    Whoever holds it may delete it: those who wait for it then get the file that has its name next.

    Args:
        path: of the file.
        create: it, if it is not there.

    Raises:
        FileNotFoundError: it is not there and not to be created.
        UserError: the disk takes no locks.
    """
    while create or exists(path):
        with path.open("a+b" if create else "r+b", buffering=0) as file:
            if _acquire_named(file, path):
                yield file
                return
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def _acquire_named(file: IO[bytes], path: Path) -> bool:
    """Lock a file; returns whether the path still leads to it: whoever held the lock may have deleted it."""
    try:
        acquire(file)
        status = os.fstat(file.fileno())
        # NFS keeps what this machine deletes under another name as long as it is open: it has a link, but not this one.
        return status.st_nlink > 0 and os.path.samestat(status, path.stat())
    except FileNotFoundError:
        return False
    except OSError as error:
        # NFS: another machine has deleted it.
        if error.errno != errno.ESTALE:
            raise
        return False


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
            contents.append([name, digest_file(path)])
    return digest(contents)


def digest_file(path: Path) -> str:
    """SHA-256 of a file's bytes; a process reads a file once, until it changes.

    Raises:
        OSError: the file cannot be read.
    """
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@functools.lru_cache(maxsize=256)
def _sha256(path: Path, size: int, modified: int, changed: int) -> str:
    # A checkpoint may have gigabytes, and a verb asks for its hash several times.
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
