"""A disk that several machines share, as Linux's NFS client shows it, for tests on a machine that has none."""

from __future__ import annotations

import errno
import fcntl
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def nfs_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    """In every test, locks as NFS version 4 takes them: alone what is open for writing, in common what for reading."""
    flock = fcntl.flock

    def nfs_flock(file: Any, operation: int) -> None:
        mode = fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE
        if (operation & fcntl.LOCK_EX and mode == os.O_RDONLY) or (operation & fcntl.LOCK_SH and mode == os.O_WRONLY):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", nfs_flock)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Lets this machine forget a file or folder, as if another had just made it.

    A look at its name does not find it until its folder is opened, or until somebody wants to create it.
    """
    unseen: set[Path] = set()

    def meets(path: Any) -> bool:
        return isinstance(path, str | os.PathLike) and not unseen.isdisjoint([Path(path), *Path(path).parents])

    def only_seen(function: Callable[..., Any]) -> Callable[..., Any]:
        def look(path: Any, *arguments: Any, **options: Any) -> Any:
            if meets(path):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
            return function(path, *arguments, **options)

        return look

    def opening_folder(function: Callable[..., Any]) -> Callable[..., Any]:
        def look(path: Any, *arguments: Any, **options: Any) -> Any:
            found = only_seen(function)(path, *arguments, **options)
            unseen.difference_update([one for one in unseen if one.parent == Path(path)])
            return found

        return look

    def open_file(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if mode[0] != "r":
            unseen.discard(Path(path))
        return only_seen(opened)(path, mode, *arguments, **options)

    def make_folder(path: Any, *arguments: Any, **options: Any) -> None:
        unseen.discard(Path(path))
        only_seen(made)(path, *arguments, **options)

    opened, made = io.open, os.mkdir
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", only_seen(os.stat))
        patch.setattr(os, "open", opening_folder(os.open))
        patch.setattr(os, "scandir", opening_folder(os.scandir))
        patch.setattr(io, "open", open_file)
        patch.setattr(os, "mkdir", make_folder)
        yield unseen.add


@pytest.fixture
def stale(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path, Callable[[], object]], None]:
    """Arranges that another machine changes a file just as this one has opened it.

    Called with the file, and what the other machine does to it, after which the server no longer knows the open one.
    """
    fstat = os.fstat

    def arrange(path: Path, change: Callable[[], object]) -> None:
        def fail_once(descriptor: int) -> os.stat_result:
            if Path(f"/proc/self/fd/{descriptor}").resolve() != path:
                return fstat(descriptor)
            monkeypatch.setattr(os, "fstat", fstat)
            change()
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

        monkeypatch.setattr(os, "fstat", fail_once)

    return arrange
