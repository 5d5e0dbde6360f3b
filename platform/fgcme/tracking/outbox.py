"""Writes that wait on disk until the store of runs can be reached.

A folder that all nodes share. Every process appends to a file of its own for each run, one JSON object a line; whoever
finds the store again reads the files of a run together and removes them once all of it is sent. A program that is
killed at any moment loses no line whose writing had returned, and leaves nothing that the next one stumbles over.
"""

from __future__ import annotations

import fcntl
import hashlib
import heapq
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fgcme.files import atomic_write, write_text

Entry = dict[str, Any]


@dataclass(frozen=True)
class Outbox:
    """What waits for one store.

    Attributes:
        folder: made when the first thing is put into it.
        address: of the store.
    """

    folder: Path
    address: str

    def append(self, run: str, entry: Entry) -> None:
        """Keep an entry of a run, behind all that this process kept of it before.

        When this returns, the entry survives the end of the process and of the machine.

        Raises:
            OSError: the disk does not take it; nothing of it is kept then.
        """
        line = json.dumps({"at": time.time_ns(), **entry}).encode() + b"\n"
        path = self._waiting(run) / f"{socket.gethostname()}-{os.getpid()}.jsonl"
        self._sign()
        # Whoever sends removes files and folders that are sent, perhaps between two of these steps.
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError), path.open("a+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if os.fstat(file.fileno()).st_nlink:
                    _append(file, line)
                    return

    def has_pending(self, run: str) -> bool:
        """Whether anything of a run waits."""
        return bool(self._files(run))

    def pending_runs(self) -> list[str]:
        """The runs of which something waits."""
        with suppress(FileNotFoundError):
            return sorted(path.name for path in (self.folder / "waiting").iterdir() if self.has_pending(path.name))
        return []

    def count_pending(self) -> int:
        """How many entries wait."""
        counted = 0
        for run in self.pending_runs():
            for path in self._files(run):
                with suppress(FileNotFoundError):
                    counted += path.read_bytes().count(b"\n")
        return counted

    def drain(self, run: str, send: Callable[[list[Entry]], None]) -> None:
        """Hand all that waits of a run to `send`, in order, then forget it; to be called by the `sender` alone.

        Entries of one process keep their order; those of several are merged by their time. What is appended meanwhile
        is handed over as well. After an exception of `send` everything waits as before, and is handed over once more
        from the start: sending twice must do no harm.
        """
        read: dict[Path, int] = {}
        sent: list[Entry] = []
        while files := self._files(run):
            fresh: list[list[Entry]] = []
            for path in files:
                lines = _lines(path, read.get(path, 0))
                read[path] = read.get(path, 0) + sum(map(len, lines))
                fresh.append([json.loads(line) for line in lines])
            entries = list(heapq.merge(*fresh, key=lambda entry: entry["at"]))
            if entries:
                send(entries)
                sent += entries
                continue
            for path in files:
                if _remove(path, read[path]):
                    # A file of this name that comes later is another one.
                    del read[path]
        with suppress(OSError):
            self._waiting(run).rmdir()
        for entry in sent:
            if "kept" in entry:
                shutil.rmtree(self.copied_file(entry["kept"]).parent, ignore_errors=True)

    @contextmanager
    def sending_lock(self, wait: bool) -> Iterator[bool]:
        """A block that one process alone is in, on all nodes; yields whether that is this one.

        Args:
            wait: until whoever is in it has left, instead of yielding False.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "sending.lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True

    def copy_file(self, path: Path) -> str:
        """Copy a file or folder, for an entry to name under `kept`; it is removed when the entry is sent."""
        name = f"{uuid.uuid4().hex}/{path.name}"
        copy = self.copied_file(name)
        copy.parent.mkdir(parents=True)
        try:
            shutil.copytree(path, copy) if path.is_dir() else shutil.copyfile(path, copy)
        except OSError:
            shutil.rmtree(copy.parent, ignore_errors=True)
            raise
        return name

    def copied_file(self, name: str) -> Path:
        """Where something is that was kept."""
        return self.folder / "files" / name

    def save_run_id(self, local: str, run: str | None) -> None:
        """Note which run of the store a local id stands for, for good and for all processes.

        None says that the store is about to be asked, or was, to make it: its answer may get lost.
        """
        (self.folder / "runs").mkdir(parents=True, exist_ok=True)
        write_text(self.folder / "runs" / local, run or "")

    def run_id(self, local: str) -> str | None:
        """The run that a local id stands for, if it is known."""
        with suppress(FileNotFoundError):
            return (self.folder / "runs" / local).read_text(encoding="utf-8") or None
        return None

    def was_requested(self, local: str) -> bool:
        """Whether the store has been asked to make a run, whatever came of it."""
        return (self.folder / "runs" / local).exists()

    @property
    def rejected_file(self) -> Path:
        """The file of all entries that the store would not take, each with its reason; there if there are any."""
        return self.folder / "refused.jsonl"

    def reject(self, run: str, entry: Entry, reason: str) -> None:
        """Set aside an entry that the store will never take; by the `sender` alone."""
        if "kept" in entry:
            aside = self.folder / "refused" / entry["kept"]
            aside.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                self.copied_file(entry["kept"]).rename(aside)
        with self.rejected_file.open("a+b", buffering=0) as file:
            _append(file, json.dumps({"run": run, "reason": reason, **entry}).encode() + b"\n")

    def _waiting(self, run: str) -> Path:
        return self.folder / "waiting" / run

    def _files(self, run: str) -> list[Path]:
        return sorted(self._waiting(run).glob("*.jsonl"))

    def _sign(self) -> None:
        """Say which store this is for. Only the owner may read it: an address may hold a password."""
        path = self.folder / "address"
        if path.exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as partial:
            partial.touch(mode=0o600)
            partial.write_text(self.address, encoding="utf-8")


def outbox_for(folder: Path, address: str) -> Outbox:
    """The outbox of one store, in a folder that may hold those of several."""
    return Outbox(folder / hashlib.sha256(address.encode()).hexdigest()[:12], address)


def find_outboxes(folder: Path) -> list[Outbox]:
    """All outboxes that a folder holds."""
    return [Outbox(path.parent, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*/address"))]


def _append(file: IO[bytes], line: bytes) -> None:
    """Write a line, whole or not at all, in the place of what a killed program may have left of its last one."""
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - 1))
    if file.read(1) not in (b"\n", b""):
        file.seek(0)
        end = file.read().rfind(b"\n") + 1
        file.truncate(end)
    try:
        left = line
        while left:
            left = left[file.write(left) :]
        os.fsync(file.fileno())
    except OSError:
        file.truncate(end)
        raise


def _lines(path: Path, start: int) -> list[bytes]:
    """The whole lines of a file from a position on."""
    with path.open("rb") as file:
        file.seek(start)
        return [line for line in file.read().splitlines(keepends=True) if line.endswith(b"\n")]


def _remove(path: Path, end: int) -> bool:
    """Remove a file of which all up to a position is sent, unless a line has come in since; returns whether it went."""
    with path.open("rb") as file:
        # Whoever appends holds this lock until the line is whole; the part of a line was left by a killed program.
        fcntl.flock(file, fcntl.LOCK_EX)
        if _lines(path, end):
            return False
        path.unlink()
        return True
