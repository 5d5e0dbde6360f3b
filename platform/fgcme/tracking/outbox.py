"""Writes that wait on disk until the store of runs answers.

The folder is shared by all nodes. Each run has one file, to which all processes append under its lock, one JSON object
a line: writes are sent in the order of the lines, whatever the clocks of their machines say. The process that sends
deletes the file, under the same lock, once everything is sent. A process that is killed at any moment loses no line
whose `append` had returned, and leaves nothing that disturbs the next one. A machine that sees another one's new file
late appends to it nevertheless.

<folder>/address                of the store
<folder>/waiting/<run>.jsonl    the pending entries of a run
<folder>/files/                 copies of artifacts
<folder>/runs/<local id>        the store's id of a run that was created, or nothing while it is not known
<folder>/refused.jsonl          entries that the store will never accept, with the reason; their files are in refused/
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fgcme.files import acquire, atomic_write, exists, locked, read_bytes, read_text, write_text

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
        """Add an entry of a run, behind all that any process has added before.

        When this returns, the entry survives the end of the process and of the machine.

        Raises:
            OSError: the disk is full; nothing of the entry is left on it.
            UserError: the disk takes no locks.
        """
        self._write_address()
        path = self._waiting_file(run)
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path) as file:
            _append_line(file, json.dumps(entry).encode() + b"\n")

    def has_pending(self, run: str) -> bool:
        """Whether entries of a run are pending."""
        return exists(self._waiting_file(run))

    def pending_runs(self) -> list[str]:
        """The runs with pending entries."""
        waiting = self.folder / "waiting"
        return sorted(path.stem for path in waiting.glob("*.jsonl")) if exists(waiting) else []

    def count_pending(self) -> int:
        """The number of pending entries of all runs."""
        count = 0
        for run in self.pending_runs():
            with suppress(FileNotFoundError):
                count += read_bytes(self._waiting_file(run)).count(b"\n")
        return count

    def drain(self, run: str, send: Callable[[list[Entry]], None]) -> None:
        """Send all pending entries of a run and delete them; only for the holder of the `sending_lock`.

        Entries that are appended meanwhile are sent as well.

        Args:
            run: the run.
            send: called with entries, in order. After an exception everything stays pending and is sent again from the
                start, so sending an entry twice must do no harm.
        """
        position, sent = 0, list[Entry]()
        while lines := self._read_or_delete(run, position):
            entries = [_parse(line) for line in lines]
            send(entries)
            sent += entries
            position += sum(map(len, lines))
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
            yield acquire(lock, wait=wait)

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

    def mark_requested(self, local_id: str) -> bool:
        """Note that the store is asked to create a run, since its reply may get lost; returns whether that is new."""
        path = self.folder / "runs" / local_id
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.open("x").close()
        except FileExistsError:
            return False
        return True

    def save_run_id(self, local_id: str, run: str) -> None:
        """Save which run of the store a local id stands for, for all processes and for good."""
        (self.folder / "runs").mkdir(parents=True, exist_ok=True)
        write_text(self.folder / "runs" / local_id, run)

    def run_id(self, local_id: str) -> str | None:
        """The store's id of the run that a local id stands for, if it is known."""
        with suppress(FileNotFoundError):
            return read_text(self.folder / "runs" / local_id) or None
        return None

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

    def _waiting_file(self, run: str) -> Path:
        return self.folder / "waiting" / f"{run}.jsonl"

    def _read_or_delete(self, run: str, start: int) -> list[bytes]:
        """The pending lines of a run after a position in bytes; if there are none, its file is deleted."""
        path = self._waiting_file(run)
        with suppress(FileNotFoundError), locked(path, create=False) as file:
            file.seek(start)
            # Nobody writes now, so half a line is from a killed process.
            lines = [line for line in file.read().splitlines(keepends=True) if line.endswith(b"\n")]
            if not lines:
                path.unlink()
            return lines
        return []

    def _write_address(self) -> None:
        """Write the store's address, which has no password in it, readable for the owner alone."""
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
    return [Outbox(path.parent, read_text(path)) for path in sorted(folder.glob("*/address"))]


def _parse(line: bytes) -> Entry:
    """The entry of a line; a damaged line is an entry that no store accepts."""
    try:
        entry: Entry = json.loads(line)
    except ValueError:
        return {"kind": "damaged", "text": line.decode(errors="replace")}
    return entry


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
