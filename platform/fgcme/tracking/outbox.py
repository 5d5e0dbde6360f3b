"""Writes that wait on disk until the store of runs answers.

The folder is shared by all nodes. For each run, every process appends to its own file, one JSON object a line; the
process that sends merges the files of a run and deletes them once everything is sent. A process that is killed at any
moment loses no line whose `append` had returned, and leaves nothing that disturbs the next one.

<folder>/address            of the store
<folder>/waiting/<run>/     a .jsonl file for each process
<folder>/files/             copies of artifacts
<folder>/runs/<local id>    the store's id of a run that was created, or nothing while it is not known
<folder>/refused.jsonl      entries that the store will never accept, with the reason; their files are in refused/
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

# One write to a run, as JSON; `fgcme.tracking.entries` lists the kinds.
Entry = dict[str, Any]


@dataclass(frozen=True)
class Outbox:
    """The pending writes to one store.

    Attributes:
        folder: created with the first entry.
        address: of the store.
    """

    folder: Path
    address: str

    def append(self, run: str, entry: Entry) -> None:
        """Add an entry of a run, behind all earlier ones of this process.

        When this returns, the entry survives the end of the process and of the machine.

        Raises:
            OSError: the disk is full; nothing of the entry is left on it.
        """
        line = json.dumps({"at": time.time_ns(), **entry}).encode() + b"\n"
        path = self._run_folder(run) / f"{socket.gethostname()}-{os.getpid()}.jsonl"
        self._write_address()
        # The sending process may delete the folder or the file between two of these steps.
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError), path.open("a+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if os.fstat(file.fileno()).st_nlink:
                    _append_line(file, line)
                    return

    def has_pending(self, run: str) -> bool:
        """Whether entries of a run are pending."""
        return bool(self._run_files(run))

    def pending_runs(self) -> list[str]:
        """The runs with pending entries."""
        with suppress(FileNotFoundError):
            return sorted(path.name for path in (self.folder / "waiting").iterdir() if self.has_pending(path.name))
        return []

    def count_pending(self) -> int:
        """The number of pending entries of all runs."""
        count = 0
        for run in self.pending_runs():
            for path in self._run_files(run):
                with suppress(FileNotFoundError):
                    count += path.read_bytes().count(b"\n")
        return count

    def drain(self, run: str, send: Callable[[list[Entry]], None]) -> None:
        """Send all pending entries of a run and delete them; only for the holder of the `sending_lock`.

        Entries of one process keep their order; those of several are merged by time. Entries that are appended
        meanwhile are sent as well.

        Args:
            run: the run.
            send: called with entries, in order. After an exception everything stays pending and is sent again from the
                start, so sending an entry twice must do no harm.
        """
        read: dict[Path, int] = {}
        sent: list[Entry] = []
        while files := self._run_files(run):
            new: list[list[Entry]] = []
            for path in files:
                lines = _whole_lines(path, read.get(path, 0))
                read[path] = read.get(path, 0) + sum(map(len, lines))
                new.append([json.loads(line) for line in lines])
            entries = list(heapq.merge(*new, key=lambda entry: entry["at"]))
            if entries:
                send(entries)
                sent += entries
                continue
            for path in files:
                if _delete_if_read(path, read[path]):
                    # A later file with this name starts from its first line.
                    del read[path]
        with suppress(OSError):
            self._run_folder(run).rmdir()
        for entry in sent:
            if "kept" in entry:
                shutil.rmtree(self.copied_file(entry["kept"]).parent, ignore_errors=True)

    @contextmanager
    def sending_lock(self, wait: bool) -> Iterator[bool]:
        """A block for one process at a time, on all nodes; yields whether this one got the lock.

        Args:
            wait: until the lock is free; if false, yield False at once when it is not.
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
        """Copy a file or folder into the outbox until the entry with this name under `kept` is sent.

        Returns:
            The name, which `copied_file` takes.
        """
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
        """Where the copy is that `copy_file` made."""
        return self.folder / "files" / name

    def save_run_id(self, local_id: str, run: str | None) -> None:
        """Save which run of the store a local id stands for, for all processes and for good.

        Args:
            local_id: the local id.
            run: the store's id; None before the store is asked to create the run, since its reply may get lost.
        """
        (self.folder / "runs").mkdir(parents=True, exist_ok=True)
        write_text(self.folder / "runs" / local_id, run or "")

    def run_id(self, local_id: str) -> str | None:
        """The store's id of the run that a local id stands for, if it is known."""
        with suppress(FileNotFoundError):
            return (self.folder / "runs" / local_id).read_text(encoding="utf-8") or None
        return None

    def was_requested(self, local_id: str) -> bool:
        """Whether the store was asked to create the run, even if no reply came."""
        return (self.folder / "runs" / local_id).exists()

    @property
    def refused_file(self) -> Path:
        """The entries that the store will never accept, each with the reason; missing if there are none."""
        return self.folder / "refused.jsonl"

    def set_aside(self, run: str, entry: Entry, reason: str) -> None:
        """Set an entry aside that the store will never accept; only for the holder of the `sending_lock`.

        Args:
            run: of the entry.
            entry: as `drain` handed it to `send`.
            reason: a sentence for the user.
        """
        if "kept" in entry:
            aside = self.folder / "refused" / entry["kept"]
            aside.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileNotFoundError):
                self.copied_file(entry["kept"]).rename(aside)
        with self.refused_file.open("a+b", buffering=0) as file:
            _append_line(file, json.dumps({"run": run, "reason": reason, **entry}).encode() + b"\n")

    def _run_folder(self, run: str) -> Path:
        return self.folder / "waiting" / run

    def _run_files(self, run: str) -> list[Path]:
        return sorted(self._run_folder(run).glob("*.jsonl"))

    def _write_address(self) -> None:
        """Write the store's address, readable for the owner alone: it may hold a password."""
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
    """All outboxes in a folder."""
    return [Outbox(path.parent, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*/address"))]


def _append_line(file: IO[bytes], line: bytes) -> None:
    """Append a line, whole or not at all; replaces half a line that a killed process left."""
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


def _whole_lines(path: Path, start: int) -> list[bytes]:
    """The whole lines of a file after a position in bytes."""
    with path.open("rb") as file:
        file.seek(start)
        return [line for line in file.read().splitlines(keepends=True) if line.endswith(b"\n")]


def _delete_if_read(path: Path, end: int) -> bool:
    """Delete a file unless it has lines after a position in bytes; returns whether it was deleted."""
    with path.open("rb") as file:
        # `append` holds this lock while it writes, so half a line is from a killed process.
        fcntl.flock(file, fcntl.LOCK_EX)
        if _whole_lines(path, end):
            return False
        path.unlink()
        return True
